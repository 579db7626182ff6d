;; Masks of rows, at least one: of the bits that are set, those of leaves that the row's values rule out are cleared. A
;; few rows go one by one, up to the last condition that clears; of eight, each is asked at once.
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

;; Masks of rows, eight at a time, of conditions that are thresholds, word by word. Values are whole numbers of 32 bits
;; that order as the values do; a block of eight rows has those of each key one after another. A condition is 16 bytes:
;; where its key lies in a block, its threshold (32 bits each), and the bits that are cleared where the value is above.
(func $clear_many
  (param $blocks i32) (param $values i32) (param $block_bytes i32) (param $masks i32) (param $mask_bytes i32)
  (param $starts i32) ;; address of each word's first condition, and where the last end
  (local $word i32) (local $condition i32) (local $end i32) (local $place i32)
  (local $threshold v128) (local $bits v128) (local $above v128)
  (local $c01 v128) (local $c23 v128) (local $c45 v128) (local $c67 v128) ;; bits cleared of two rows each
  (loop $each_block
    (local.set $word (i32.const 0))
    (loop $each_word
      (local.set $place (i32.add (local.get $starts) (i32.shr_u (local.get $word) (i32.const 1))))
      (local.set $condition (i32.load offset=0 (local.get $place)))
      (local.set $end (i32.load offset=4 (local.get $place)))
      (local.set $c01 (v128.const i64x2 0 0))
      (local.set $c23 (v128.const i64x2 0 0))
      (local.set $c45 (v128.const i64x2 0 0))
      (local.set $c67 (v128.const i64x2 0 0))
      (block $asked
        (loop $each_condition
          (br_if $asked (i32.eq (local.get $condition) (local.get $end)))
          (local.set $place (i32.add (local.get $values) (i32.load offset=0 (local.get $condition))))
          (local.set $threshold (v128.load32_splat offset=4 (local.get $condition)))
          (local.set $bits (v128.load64_splat offset=8 (local.get $condition)))
          (local.set $above (i32x4.gt_s (v128.load offset=0 (local.get $place)) (local.get $threshold)))
          (local.set $c01 (v128.or (local.get $c01)
            (v128.and (local.get $bits) (i64x2.extend_low_i32x4_s (local.get $above)))))
          (local.set $c23 (v128.or (local.get $c23)
            (v128.and (local.get $bits) (i64x2.extend_high_i32x4_s (local.get $above)))))
          (local.set $above (i32x4.gt_s (v128.load offset=16 (local.get $place)) (local.get $threshold)))
          (local.set $c45 (v128.or (local.get $c45)
            (v128.and (local.get $bits) (i64x2.extend_low_i32x4_s (local.get $above)))))
          (local.set $c67 (v128.or (local.get $c67)
            (v128.and (local.get $bits) (i64x2.extend_high_i32x4_s (local.get $above)))))
          (local.set $condition (i32.add (local.get $condition) (i32.const 16)))
          (br $each_condition)))
      (local.set $place (i32.add (local.get $masks) (local.get $word)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 0 (local.get $c01)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 1 (local.get $c01)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 0 (local.get $c23)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 1 (local.get $c23)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 0 (local.get $c45)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 1 (local.get $c45)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 0 (local.get $c67)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (i64.store (local.get $place)
        (i64.and (i64.load (local.get $place)) (i64.xor (i64.const -1) (i64x2.extract_lane 1 (local.get $c67)))))
      (local.set $place (i32.add (local.get $place) (local.get $mask_bytes)))
      (br_if $each_word
        (i32.ne (local.tee $word (i32.add (local.get $word) (i32.const 8))) (local.get $mask_bytes))))
    (local.set $values (i32.add (local.get $values) (local.get $block_bytes)))
    (local.set $masks (i32.add (local.get $masks) (i32.shl (local.get $mask_bytes) (i32.const 3))))
    (br_if $each_block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1))))))
