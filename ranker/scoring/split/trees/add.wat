;; Sums of the leaves that rows reach: tree after tree in the node's order, as ONNX Runtime adds them in one thread.
;;
;; `float` stands for f32 or f64, `SHIFT` for 2 or 3: the type of the weights, and the binary logarithm of its bytes.
;; Each row, of at least one, has a mask of its product, and the address of its request's mask. The lowest bit of both
;; is the leaf; where there is none, 64 stands for it, so behind the last leaf lie as many more.

;; One word a tree, one vote a leaf. Four rows at a time, since each sum waits for its last addition; the masks, the
;; addresses and the sums of up to three rows behind the last are read and written, too.
(func $add_narrow
  (param $rows i32) (param $trees i32) (param $request i32) (param $product i32) (param $sums i32)
  (param $leaf i32) ;; address of each tree's first weight
  (local $tree i32) (local $leaf_end i32) (local $weight i32) (local $mask_bytes i32)
  (local $u0 i32) (local $u1 i32) (local $u2 i32) (local $u3 i32)
  (local $p0 i32) (local $p1 i32) (local $p2 i32) (local $p3 i32)
  (local $s0 float) (local $s1 float) (local $s2 float) (local $s3 float)
  (local.set $leaf_end (i32.add (local.get $leaf) (i32.shl (local.get $trees) (i32.const 2))))
  (local.set $mask_bytes (i32.shl (local.get $trees) (i32.const 3)))
  (local.set $p0 (local.get $product))
  (loop $each_row
    (local.set $u0 (i32.load offset=0 (local.get $request)))
    (local.set $u1 (i32.load offset=4 (local.get $request)))
    (local.set $u2 (i32.load offset=8 (local.get $request)))
    (local.set $u3 (i32.load offset=12 (local.get $request)))
    (local.set $p1 (i32.add (local.get $p0) (local.get $mask_bytes)))
    (local.set $p2 (i32.add (local.get $p1) (local.get $mask_bytes)))
    (local.set $p3 (i32.add (local.get $p2) (local.get $mask_bytes)))
    (local.set $s0 (float.const 0))
    (local.set $s1 (float.const 0))
    (local.set $s2 (float.const 0))
    (local.set $s3 (float.const 0))
    (local.set $tree (local.get $leaf))
    (loop $each_tree
      (local.set $weight (i32.load (local.get $tree)))
      (local.set $s0 (float.add (local.get $s0) (float.load (i32.add (local.get $weight) (i32.shl
        (i32.wrap_i64 (i64.ctz (i64.and (i64.load (local.get $u0)) (i64.load (local.get $p0))))) (i32.const SHIFT))))))
      (local.set $s1 (float.add (local.get $s1) (float.load (i32.add (local.get $weight) (i32.shl
        (i32.wrap_i64 (i64.ctz (i64.and (i64.load (local.get $u1)) (i64.load (local.get $p1))))) (i32.const SHIFT))))))
      (local.set $s2 (float.add (local.get $s2) (float.load (i32.add (local.get $weight) (i32.shl
        (i32.wrap_i64 (i64.ctz (i64.and (i64.load (local.get $u2)) (i64.load (local.get $p2))))) (i32.const SHIFT))))))
      (local.set $s3 (float.add (local.get $s3) (float.load (i32.add (local.get $weight) (i32.shl
        (i32.wrap_i64 (i64.ctz (i64.and (i64.load (local.get $u3)) (i64.load (local.get $p3))))) (i32.const SHIFT))))))
      (local.set $u0 (i32.add (local.get $u0) (i32.const 8)))
      (local.set $u1 (i32.add (local.get $u1) (i32.const 8)))
      (local.set $u2 (i32.add (local.get $u2) (i32.const 8)))
      (local.set $u3 (i32.add (local.get $u3) (i32.const 8)))
      (local.set $p0 (i32.add (local.get $p0) (i32.const 8)))
      (local.set $p1 (i32.add (local.get $p1) (i32.const 8)))
      (local.set $p2 (i32.add (local.get $p2) (i32.const 8)))
      (local.set $p3 (i32.add (local.get $p3) (i32.const 8)))
      (br_if $each_tree
        (i32.ne (local.tee $tree (i32.add (local.get $tree) (i32.const 4))) (local.get $leaf_end))))
    (float.store (local.get $sums) (local.get $s0))
    (local.set $sums (i32.add (local.get $sums) (i32.shl (i32.const 1) (i32.const SHIFT))))
    (float.store (local.get $sums) (local.get $s1))
    (local.set $sums (i32.add (local.get $sums) (i32.shl (i32.const 1) (i32.const SHIFT))))
    (float.store (local.get $sums) (local.get $s2))
    (local.set $sums (i32.add (local.get $sums) (i32.shl (i32.const 1) (i32.const SHIFT))))
    (float.store (local.get $sums) (local.get $s3))
    (local.set $sums (i32.add (local.get $sums) (i32.shl (i32.const 1) (i32.const SHIFT))))
    (local.set $request (i32.add (local.get $request) (i32.const 16)))
    (local.set $p0 (local.get $p3)) ;; it has come to its end, where the next row begins
    (br_if $each_row (i32.gt_s (local.tee $rows (i32.sub (local.get $rows) (i32.const 4))) (i32.const 0)))))

;; Trees some of which take several words, one vote a leaf: a tree's leaf is the lowest bit of its first word that has
;; any; its last word is taken as it is.
(func $add_wide
  (param $rows i32) (param $trees i32) (param $request i32) (param $product i32) (param $sums i32)
  (param $leaf i32) ;; address of each tree's first weight
  (param $mask_bytes i32)
  (param $tree_word i32) ;; where each tree's words begin in a mask, and where the last end
  (local $tree i32) (local $of i32) (local $word i32) (local $last i32) (local $weight i32) (local $bits i64)
  (local $sum float)
  (loop $each_row
    (local.set $of (i32.load (local.get $request)))
    (local.set $sum (float.const 0))
    (local.set $tree (i32.const 0))
    (loop $each_tree
      (local.set $word (i32.load (i32.add (local.get $tree_word) (local.get $tree))))
      (local.set $last
        (i32.sub (i32.load offset=4 (i32.add (local.get $tree_word) (local.get $tree))) (i32.const 8)))
      (local.set $weight (i32.load (i32.add (local.get $leaf) (local.get $tree))))
      (block $reached
        (loop $each_word
          (local.set $bits
            (i64.and
              (i64.load (i32.add (local.get $of) (local.get $word)))
              (i64.load (i32.add (local.get $product) (local.get $word)))))
          (br_if $reached (i64.ne (local.get $bits) (i64.const 0)))
          (br_if $reached (i32.eq (local.get $word) (local.get $last)))
          (local.set $word (i32.add (local.get $word) (i32.const 8)))
          (local.set $weight (i32.add (local.get $weight) (i32.shl (i32.const 64) (i32.const SHIFT))))
          (br $each_word)))
      (local.set $sum (float.add (local.get $sum) (float.load (i32.add (local.get $weight)
        (i32.shl (i32.wrap_i64 (i64.ctz (local.get $bits))) (i32.const SHIFT))))))
      (br_if $each_tree
        (i32.ne
          (local.tee $tree (i32.add (local.get $tree) (i32.const 4)))
          (i32.shl (local.get $trees) (i32.const 2)))))
    (float.store (local.get $sums) (local.get $sum))
    (local.set $sums (i32.add (local.get $sums) (i32.shl (i32.const 1) (i32.const SHIFT))))
    (local.set $request (i32.add (local.get $request) (i32.const 4)))
    (local.set $product (i32.add (local.get $product) (local.get $mask_bytes)))
    (br_if $each_row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1))))))

;; Leaves that have several votes, or votes for several targets; sums hold what they begin with. Votes are added, or the
;; smallest or the largest counts, where NaN stands for none yet.
(func $add_votes
  (param $rows i32) (param $trees i32) (param $request i32) (param $product i32) (param $sums i32)
  (param $leaf i32) ;; address of where the votes of each tree's first leaf begin
  (param $mask_bytes i32) (param $tree_word i32)
  (param $sums_bytes i32) ;; of a row
  (param $target i32) ;; of each vote, where its target lies in a row of sums
  (param $weight i32) (param $aggregate i32)
  (local $tree i32) (local $of i32) (local $word i32) (local $last i32) (local $start i32) (local $bits i64)
  (local $vote i32) (local $end i32) (local $sum i32) (local $given float) (local $so_far float)
  (loop $each_row
    (local.set $of (i32.load (local.get $request)))
    (local.set $tree (i32.const 0))
    (loop $each_tree
      (local.set $word (i32.load (i32.add (local.get $tree_word) (local.get $tree))))
      (local.set $last
        (i32.sub (i32.load offset=4 (i32.add (local.get $tree_word) (local.get $tree))) (i32.const 8)))
      (local.set $start (i32.load (i32.add (local.get $leaf) (local.get $tree))))
      (block $reached
        (loop $each_word
          (local.set $bits
            (i64.and
              (i64.load (i32.add (local.get $of) (local.get $word)))
              (i64.load (i32.add (local.get $product) (local.get $word)))))
          (br_if $reached (i64.ne (local.get $bits) (i64.const 0)))
          (br_if $reached (i32.eq (local.get $word) (local.get $last)))
          (local.set $word (i32.add (local.get $word) (i32.const 8)))
          (local.set $start (i32.add (local.get $start) (i32.const 256))) ;; 64 leaves
          (br $each_word)))
      (local.set $start
        (i32.add (local.get $start) (i32.shl (i32.wrap_i64 (i64.ctz (local.get $bits))) (i32.const 2))))
      (local.set $vote (i32.load offset=0 (local.get $start)))
      (local.set $end (i32.load offset=4 (local.get $start)))
      (block $voted
        (loop $each_vote
          (br_if $voted (i32.eq (local.get $vote) (local.get $end)))
          (local.set $sum
            (i32.add (local.get $sums)
              (i32.load (i32.add (local.get $target) (i32.shl (local.get $vote) (i32.const 2))))))
          (local.set $so_far (float.load (local.get $sum)))
          (local.set $given
            (float.load (i32.add (local.get $weight) (i32.shl (local.get $vote) (i32.const SHIFT)))))
          (if (i32.lt_u (local.get $aggregate) (i32.const 2)) ;; AVERAGE, SUM
            (then (local.set $given (float.add (local.get $so_far) (local.get $given))))
            (else
              (if (i32.eqz (i32.or
                    (float.ne (local.get $so_far) (local.get $so_far))
                    (select
                      (float.lt (local.get $given) (local.get $so_far)) ;; MIN
                      (float.gt (local.get $given) (local.get $so_far)) ;; MAX
                      (i32.eq (local.get $aggregate) (i32.const 2)))))
                (then (local.set $given (local.get $so_far))))))
          (float.store (local.get $sum) (local.get $given))
          (local.set $vote (i32.add (local.get $vote) (i32.const 1)))
          (br $each_vote)))
      (br_if $each_tree
        (i32.ne
          (local.tee $tree (i32.add (local.get $tree) (i32.const 4)))
          (i32.shl (local.get $trees) (i32.const 2)))))
    (local.set $sums (i32.add (local.get $sums) (local.get $sums_bytes)))
    (local.set $request (i32.add (local.get $request) (i32.const 4)))
    (local.set $product (i32.add (local.get $product) (local.get $mask_bytes)))
    (br_if $each_row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1))))))
