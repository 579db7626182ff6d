#!/bin/sh
# Start Redis with two users, whose passwords are files in SECRETS; the list of users, with their hashes, is written
# where only this process reads it. Further arguments go to the server.
set -eu
secrets=${SECRETS:-/run/secrets}
users=${USERS_FILE:-/tmp/users.acl}

hash() { printf %s "$(cat "$secrets/$1")" | sha256sum | cut -d' ' -f1; }

umask 077
cat >"$users" <<END
user default off
user serving on #$(hash redis_serving_password) %R~user:* %R~product:* -@all +mget +ping +hello +client|tracking +info
user loading on #$(hash redis_loading_password) ~user:* ~product:* ~ranker:load:* -@all +@read +@write +@scripting +@connection -flushall -flushdb -swapdb
END
exec redis-server "$(dirname "$0")/redis.conf" --aclfile "$users" "$@"
