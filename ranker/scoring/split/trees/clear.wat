;; Masks of rows, at least one: every bit set, but for those of leaves that the row's values rule out.
;;
;; Addresses are bytes of the memory. A group is the conditions that look at one column in one way, four numbers of 32
;; bits: where the column lies in a row, the kind, the first condition, and the one after the last. Conditions lie in
;; arrays: threshold (f32), by_nan (8 bits), word (32 bits: where the word lies in a row's mask), keep (64 bits), and
;; members (32 bits: the address of the condition's first member; that of the next condition's is where they end).
(func $clear
  (param $rows i32) (param $values i32) (param $row_bytes i32) (param $masks i32) (param $mask_bytes i32)
  (param $groups i32) (param $groups_end i32)
  (param $threshold i32) (param $by_nan i32) (param $word i32) (param $keep i32) (param $members i32)
  (local $group i32) (local $kind i32) (local $value f32)
  (local $entry i32) (local $end i32) (local $middle i32) (local $above i32)
  (local $place i32) (local $words_end i32) (local $keeps i32)
  (loop $each_row
    (memory.fill (local.get $masks) (i32.const 0xff) (local.get $mask_bytes))
    (local.set $group (local.get $groups))
    (block $groups_done
      (loop $each_group
        (br_if $groups_done (i32.eq (local.get $group) (local.get $groups_end)))
        (local.set $value (f32.load (i32.add (local.get $values) (i32.load offset=0 (local.get $group)))))
        (local.set $kind (i32.load offset=4 (local.get $group)))
        (local.set $entry (i32.load offset=8 (local.get $group)))
        (local.set $end (i32.load offset=12 (local.get $group)))
        (local.set $group (i32.add (local.get $group) (i32.const 16)))
        (if (i32.or (f32.ne (local.get $value) (local.get $value)) (i32.gt_u (local.get $kind) (i32.const 1)))
          (then ;; NaN, or members: each condition is asked
            (block $entries_done
              (loop $each_entry
                (br_if $entries_done (i32.eq (local.get $entry) (local.get $end)))
                (if (call $rules_out
                      (local.get $value) (local.get $kind)
                      (i32.add (local.get $by_nan) (local.get $entry))
                      (i32.add (local.get $members) (i32.shl (local.get $entry) (i32.const 2))))
                  (then
                    (local.set $place
                      (i32.add (local.get $masks)
                        (i32.load (i32.add (local.get $word) (i32.shl (local.get $entry) (i32.const 2))))))
                    (i64.store (local.get $place)
                      (i64.and (i64.load (local.get $place))
                        (i64.load (i32.add (local.get $keep) (i32.shl (local.get $entry) (i32.const 3))))))))
                (local.set $entry (i32.add (local.get $entry) (i32.const 1)))
                (br $each_entry))))
          (else ;; thresholds: those that rule leaves out come first, the last of them is searched for by halves
            (local.set $words_end (local.get $entry))
            (block $found
              (loop $halve ;; between $words_end and $end
                (br_if $found (i32.ge_u (local.get $words_end) (local.get $end)))
                (local.set $middle (i32.shr_u (i32.add (local.get $words_end) (local.get $end)) (i32.const 1)))
                (local.set $above
                  (select
                    (f32.lt (local.get $value)
                      (f32.load (i32.add (local.get $threshold) (i32.shl (local.get $middle) (i32.const 2)))))
                    (f32.gt (local.get $value)
                      (f32.load (i32.add (local.get $threshold) (i32.shl (local.get $middle) (i32.const 2)))))
                    (local.get $kind)))
                (local.set $words_end
                  (select (i32.add (local.get $middle) (i32.const 1)) (local.get $words_end) (local.get $above)))
                (local.set $end (select (local.get $end) (local.get $middle) (local.get $above)))
                (br $halve)))
            (local.set $keeps (i32.add (local.get $keep) (i32.shl (local.get $entry) (i32.const 3))))
            (local.set $entry (i32.add (local.get $word) (i32.shl (local.get $entry) (i32.const 2))))
            (local.set $words_end (i32.add (local.get $word) (i32.shl (local.get $words_end) (i32.const 2))))
            (block $cleared
              (loop $clear_word
                (br_if $cleared (i32.eq (local.get $entry) (local.get $words_end)))
                (local.set $place (i32.add (local.get $masks) (i32.load (local.get $entry))))
                (i64.store (local.get $place) (i64.and (i64.load (local.get $place)) (i64.load (local.get $keeps))))
                (local.set $entry (i32.add (local.get $entry) (i32.const 4)))
                (local.set $keeps (i32.add (local.get $keeps) (i32.const 8)))
                (br $clear_word)))))
        (br $each_group)))
    (local.set $values (i32.add (local.get $values) (local.get $row_bytes)))
    (local.set $masks (i32.add (local.get $masks) (local.get $mask_bytes)))
    (br_if $each_row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1))))))

;; Whether a condition rules its leaves out where the value is NaN or is looked for among members.
(func $rules_out (param $value f32) (param $kind i32) (param $by_nan i32) (param $members i32) (result i32)
  (local $member i32) (local $end i32)
  (if (f32.ne (local.get $value) (local.get $value)) (then (return (i32.load8_u (local.get $by_nan)))))
  (local.set $member (i32.load offset=0 (local.get $members)))
  (local.set $end (i32.load offset=4 (local.get $members)))
  (block $done
    (loop $each_member
      (br_if $done (i32.eq (local.get $member) (local.get $end)))
      (if (f32.eq (local.get $value) (f32.load (local.get $member)))
        (then (return (i32.eq (local.get $kind) (i32.const 3))))) ;; AMONG
      (local.set $member (i32.add (local.get $member) (i32.const 4)))
      (br $each_member)))
  (i32.eq (local.get $kind) (i32.const 2))) ;; OUTSIDE
