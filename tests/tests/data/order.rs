//! Which rows make up a step, and how a step is cut.

use wgpu_sft::Error;
use wgpu_sft::data::{Example, IGNORE, MicroBatch, Order, micro_batches, pack};

#[test]
fn every_epoch_holds_every_row_once() {
    let mut order = Order::new(42, true, 10, 4).unwrap();
    assert_eq!(order.steps_per_epoch(), 3);
    let mut epochs = Vec::new();
    for epoch in 0..3 {
        let sizes: Vec<usize> = (0..3).map(|step| order.step(epoch * 3 + step).len()).collect();
        assert_eq!(sizes, [4, 4, 2]);
        let mut rows: Vec<u32> = (0..3).flat_map(|step| order.step(epoch * 3 + step).to_vec()).collect();
        epochs.push(rows.clone());
        rows.sort_unstable();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    // Any step can be asked for first.
    assert_eq!(Order::new(42, true, 10, 4).unwrap().step(7), order.step(7));
}

#[test]
fn without_shuffling_the_file_gives_the_order() {
    let mut order = Order::new(42, false, 5, 3).unwrap();
    assert_eq!(order.step(0), [0, 1, 2]);
    assert_eq!(order.step(1), [3, 4]);
    assert_eq!(order.step(2), [0, 1, 2]);
    assert_eq!(Order::new(42, true, 2, 100).unwrap().step(0).len(), 2);
}

#[test]
fn orders_are_refused_by_name() {
    assert!(matches!(Order::new(0, true, 0, 1), Err(Error::Data { .. })));
    assert!(matches!(Order::new(0, true, 1, 0), Err(Error::Config { field, .. }) if field == "batch_size"));
    let order = Order::new(0, true, 10, 4).unwrap();
    assert_eq!(order.total_steps(3.0), Ok(9));
    assert_eq!(order.total_steps(0.5), Ok(2));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(order.total_steps(bad), Err(Error::Config { .. })));
    }
}

#[test]
fn packing_fills_each_micro_batch_longest_first() {
    // 6 + 4 | 5 + 3 + 2 | 1.
    assert_eq!(
        pack(&[1, 2, 3, 4, 5, 6], 10).unwrap(),
        [vec![0], vec![1, 2, 4], vec![3, 5]]
    );
    // The 3 goes where it leaves the least: beside 7, not beside 5.
    assert_eq!(pack(&[5, 7, 3], 10).unwrap(), [vec![0], vec![1, 2]]);
    // Row by row, where each fits best, the last 2 would open a third.
    assert_eq!(pack(&[5, 4, 4, 3, 2, 2], 10).unwrap(), [vec![0, 3, 4], vec![1, 2, 5]]);
    assert_eq!(pack(&[], 10).unwrap(), Vec::<Vec<usize>>::new());
    assert_eq!(pack(&[10, 10], 10).unwrap(), [vec![0], vec![1]]);
    assert!(matches!(pack(&[3, 11], 10), Err(Error::Config { why, .. }) if why.contains("11")));
}

#[test]
fn however_a_step_is_cut_it_holds_the_same_rows() {
    let lengths = [7usize, 3, 12, 5, 5, 1, 9, 2];
    let examples: Vec<Example> = (0..)
        .zip(lengths)
        .map(|(row, n)| Example {
            ids: (0..n as u32).map(|t| row * 100 + t).collect(),
            labels: (0..n as i32)
                .map(|t| if t % 2 == 0 { IGNORE } else { row as i32 * 100 + t })
                .collect(),
        })
        .collect();
    let rows = [6, 0, 3, 2, 7, 1];
    for capacity in [12, 13, 20, 1000] {
        let batches = micro_batches(&examples, &rows, capacity).unwrap();
        let mut seen = Vec::new();
        for batch in &batches {
            assert!(batch.tokens.len() <= capacity);
            let mut members = batch.example.clone();
            members.dedup();
            // Whole rows, in the step's order.
            let places: Vec<usize> = members
                .iter()
                .map(|m| rows.iter().position(|r| r == m).unwrap())
                .collect();
            assert!(places.is_sorted());
            let mut alone = MicroBatch::default();
            members.iter().for_each(|&m| alone.push(m, &examples[m as usize]));
            assert_eq!(&alone, batch);
            seen.extend(places);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
        assert_eq!(batches, micro_batches(&examples, &rows, capacity).unwrap());
    }
    assert!(micro_batches(&examples, &rows, 11).is_err());
}

#[test]
fn a_micro_batch_shifts_once_and_never_targets_a_first_token() {
    let mut batch = MicroBatch::default();
    batch.push(
        4,
        &Example {
            ids: vec![1, 2, 3],
            labels: vec![1, IGNORE, 3],
        },
    );
    batch.push(
        9,
        &Example {
            ids: vec![5, 6],
            labels: vec![5, 6],
        },
    );
    assert_eq!(batch.tokens, [1, 2, 3, 5, 6]);
    assert_eq!(batch.positions, [0, 1, 2, 0, 1]);
    assert_eq!(batch.segment_start, [0, 0, 0, 3, 3]);
    assert_eq!(batch.segment_end, [3, 3, 3, 5, 5]);
    assert_eq!(batch.example, [4, 4, 4, 9, 9]);
    assert_eq!(batch.target_rows, [1, 3]);
    assert_eq!(batch.targets, [3, 6]);
}
