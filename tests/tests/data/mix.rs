//! How often rows are seen, and how full micro-batches are.

use wgpu_sft::Error;
use wgpu_sft::data::{Group, Mix, Mixture, Order, pack};
use wgpu_sft::random::{Stream, block, normals};

/// Every row of some epochs.
fn epoch(order: &mut Order, epoch: u64) -> Vec<u32> {
    let steps = order.steps_per_epoch();
    (0..steps)
        .flat_map(|step| order.step(epoch * steps + step).to_vec())
        .collect()
}

fn counts(rows: impl IntoIterator<Item = u32>, n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    rows.into_iter().for_each(|row| counts[row as usize] += 1);
    counts
}

/// Files of 10, 4 and 6 rows.
fn files(weights: [f64; 3]) -> Vec<Group> {
    let mut mixture = Mixture::default();
    for (weight, rows) in weights.into_iter().zip([10, 4, 6]) {
        mixture.begin_file(weight).unwrap();
        (0..rows).for_each(|_| mixture.add("").unwrap());
    }
    mixture.groups(Mix::Proportional)
}

#[test]
fn weights_repeat_files_and_thin_them_out() {
    let mut order = Order::of_groups(7, true, files([1.0, 2.0, 0.5]), 4).unwrap();
    assert_eq!(order.steps_per_epoch(), 6); // 10 + 8 + 3 rows
    let first = epoch(&mut order, 0);
    let seen = counts(first.iter().copied(), 20);
    assert_eq!((&seen[..10], &seen[10..14]), (&[1; 10][..], &[2; 4][..]));
    assert_eq!(seen[14..].iter().sum::<usize>(), 3);
    // What one epoch leaves out, the next one has; and another seed takes other rows.
    let second = epoch(&mut order, 1);
    assert_eq!(counts(first.iter().chain(&second).copied(), 20)[14..], [1; 6]);
    let halves: Vec<Vec<usize>> = (0..20)
        .map(|seed| {
            let mut order = Order::of_groups(seed, true, files([1.0, 2.0, 0.5]), 4).unwrap();
            counts(epoch(&mut order, 0), 20)[14..].to_vec()
        })
        .collect();
    assert!(halves.iter().any(|half| *half != halves[0]));
    // Any step can be asked for first, however late.
    for step in [0, 5, 6, 40, u64::MAX / 2] {
        let mut fresh = Order::of_groups(7, true, files([1.0, 2.0, 0.5]), 4).unwrap();
        assert_eq!(fresh.step(step), order.step(step));
    }
    // One and a half: over two epochs, three times each.
    let mut order = Order::of_groups(7, true, files([1.5, 1.0, 1.0]), 4).unwrap();
    let both = [epoch(&mut order, 4), epoch(&mut order, 5)].concat();
    assert_eq!(counts(both, 20)[..10], [3; 10]);
}

#[test]
fn weights_of_one_change_nothing() {
    let (mut plain, mut grouped) = (
        Order::new(42, true, 20, 3).unwrap(),
        Order::of_groups(42, true, files([1.0; 3]), 3).unwrap(),
    );
    // Nor do tasks, unless they share epochs out.
    let mut mixture = Mixture::default();
    (0..20).for_each(|row| mixture.add(["a", "b", "c"][row % 3]).unwrap());
    let mut named = Order::of_groups(42, true, mixture.groups(Mix::Proportional), 3).unwrap();
    for step in 0..30 {
        assert_eq!(plain.step(step), grouped.step(step));
        assert_eq!(plain.step(step), named.step(step));
    }
}

#[test]
fn without_shuffling_rows_come_in_order() {
    let mut order = Order::of_groups(7, false, files([1.0, 2.0, 0.5]), 100).unwrap();
    let twice = [10, 10, 11, 11, 12, 12, 13, 13];
    assert_eq!(
        order.step(0),
        [&(0..10).collect::<Vec<_>>()[..], &twice, &[14, 15, 16]].concat()
    );
    assert_eq!(order.step(1)[18..], [17, 18, 19]);
}

#[test]
fn tasks_share_an_epoch() {
    let mut mixture = Mixture::default();
    for (weight, tasks) in [(1.0, [("qa", 80), ("code", 5)]), (2.0, [("qa", 0), ("", 10)])] {
        mixture.begin_file(weight).unwrap();
        for (task, n) in tasks {
            (0..n).for_each(|_| mixture.add(task).unwrap());
        }
    }
    let shares = |mix| -> Vec<(String, usize)> {
        let tasks = mixture.tasks(mix);
        tasks.into_iter().map(|(task, n)| (task.to_owned(), n)).collect()
    };
    let named = |shares: [usize; 3]| {
        ["", "code", "qa"]
            .map(str::to_owned)
            .into_iter()
            .zip(shares)
            .collect::<Vec<_>>()
    };
    assert_eq!(shares(Mix::Proportional), named([20, 5, 80]));
    assert_eq!(shares(Mix::Balanced), named([35, 35, 35]));
    // √20 : √5 : √80 = 2 : 1 : 4
    assert_eq!(shares(Mix::Sqrt), named([30, 15, 60]));
    let mut order = Order::of_groups(3, true, mixture.groups(Mix::Balanced), 10).unwrap();
    let seen = counts(epoch(&mut order, 0), 95);
    assert_eq!(seen[80..85], [7; 5]);
    assert!(seen[..80].iter().all(|&n| n <= 1) && seen[85..].iter().all(|&n| n == 3 || n == 4));
    // A task of which an epoch has less than half a row still has one.
    let mut rare = Mixture::default();
    rare.begin_file(0.01).unwrap();
    rare.add("").unwrap();
    assert_eq!(rare.groups(Mix::Proportional)[0].per_epoch, 1);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1001.0] {
        assert!(matches!(Mixture::default().begin_file(weight), Err(Error::Config { field, .. }) if field == "data"));
    }
    assert_eq!("sqrt".parse(), Ok(Mix::Sqrt));
    assert!("even".parse::<Mix>().is_err());
    assert!(Order::of_groups(0, true, Vec::new(), 1).is_err());
}

/// Lengths as Alpaca's rows have them with a tokenizer of some 50,000 tokens: log-normal, median 75, a few past 400.
fn alpaca_like(n: usize) -> Vec<usize> {
    let normals = (0..n.div_ceil(4) as u64).flat_map(|i| normals(block(5, Stream::Init, 0, i)));
    normals
        .take(n)
        .map(|z| (75.0 * (0.6 * z).exp()) as usize)
        .map(|n| n.clamp(10, 1024))
        .collect()
}

/// Tiles of products have at most 128 rows, and the last one of a micro-batch may be part empty: no cut has fewer tiles than one of all
/// tokens together.
#[test]
fn micro_batches_are_full() {
    const TILE: usize = 128;
    let lengths = alpaca_like(20_000);
    let longest = *lengths.iter().max().unwrap();
    assert!((600..=1024).contains(&longest));
    for batch_size in [24, 32, 64, 128, 512] {
        let mut order = Order::new(1, true, lengths.len(), batch_size).unwrap();
        for capacity in [1024, 2048, 4096] {
            let (mut real, mut dispatched, mut steps) = (0, 0, 0);
            for step in 0..order.steps_per_epoch() {
                let lengths: Vec<usize> = order.step(step).iter().map(|&row| lengths[row as usize]).collect();
                let tokens: usize = lengths.iter().sum();
                if tokens < 2000 {
                    continue;
                }
                let groups = pack(&lengths, capacity).unwrap();
                let mut places: Vec<usize> = groups.concat();
                places.sort_unstable();
                assert!(places.into_iter().eq(0..lengths.len()));
                let sums = groups
                    .iter()
                    .map(|group| group.iter().map(|&place| lengths[place]).sum::<usize>());
                let rows: usize = sums.map(|sum| sum.next_multiple_of(TILE)).sum();
                assert_eq!(
                    rows,
                    tokens.next_multiple_of(TILE),
                    "{tokens} tokens, {capacity} at once"
                );
                assert!(tokens < 2432 || tokens as f64 >= 0.95 * rows as f64);
                (real, dispatched, steps) = (real + tokens, dispatched + rows, steps + 1);
            }
            assert!(steps > 30);
            let share = real as f64 / dispatched as f64;
            assert!(share >= 0.97, "{batch_size} rows a step, {capacity} at once: {share}");
        }
    }
}

/// However few and awkward the lengths: against every way to choose.
#[test]
fn a_micro_batch_is_as_full_as_it_can_be() {
    for case in 0..2000 {
        let drawn = block(11, Stream::Init, 0, case);
        let n = 2 + drawn[0] as usize % 9;
        let most = [3, 12, 70, 200][drawn[1] as usize % 4];
        let lengths: Vec<usize> = (0..n)
            .map(|i| 1 + block(12, Stream::Init, i as u32, case)[0] as usize % most)
            .collect();
        let longest = *lengths.iter().max().unwrap();
        let capacity = longest + drawn[2] as usize % (2 * most);
        let first = lengths.iter().position(|&length| length == longest).unwrap();
        let groups = pack(&lengths, capacity).unwrap();
        let sum = |group: &Vec<usize>| group.iter().map(|&place| lengths[place]).sum::<usize>();
        assert!(groups.iter().all(|group| sum(group) <= capacity));
        let best = (0..1usize << n)
            .filter(|set| set >> first & 1 == 1)
            .map(|set| (0..n).filter(|i| set >> i & 1 == 1).map(|i| lengths[i]).sum::<usize>())
            .filter(|sum| *sum <= capacity)
            .max();
        let full = groups.iter().find(|group| group.contains(&first)).map(sum);
        assert_eq!(full, best, "{lengths:?} in {capacity}");
    }
}
