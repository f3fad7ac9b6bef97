//! How often the rows of each file and task are seen.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the tasks that rows name share an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// As many rows of each as there are.
    #[default]
    Proportional,
    /// In proportion to the square roots of their numbers: small tasks are repeated, large ones thinned out.
    Sqrt,
    /// As many rows of each as of any other.
    Balanced,
}

impl FromStr for Mix {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "proportional" => Self::Proportional,
            "sqrt" => Self::Sqrt,
            "balanced" => Self::Balanced,
            _ => {
                let why = format!("{name:?} is none of proportional, sqrt, balanced");
                return Err(Error::config("mix", why));
            }
        })
    }
}

/// Rows that are seen equally often: those of a file, or of a task in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Numbers of examples, ascending.
    pub rows: Vec<u32>,
    /// How many of them an epoch has: each as often as any other, give or take once.
    pub per_epoch: usize,
}

/// The examples of several files, in order, and how epochs are shared out among them.
#[derive(Debug, Clone, Default)]
pub struct Mixture {
    /// Each file's weight and its examples by task.
    files: Vec<(f64, BTreeMap<String, Vec<u32>>)>,
    count: u32,
}

impl Mixture {
    /// Go on with a file each row of which is seen `weight` times an epoch.
    ///
    /// # Errors
    /// [`Error::Config`] unless the weight is above 0 and at most 1000.
    pub fn begin_file(&mut self, weight: f64) -> Result<()> {
        if !(weight > 0.0 && weight <= 1000.0) {
            let why = format!("a weight of {weight} is not above 0 and at most 1000");
            return Err(Error::config("data", why));
        }
        self.files.push((weight, BTreeMap::new()));
        Ok(())
    }

    /// The next example is of the last file (the first, of weight 1, where none was begun), and of this task, which may be empty.
    ///
    /// # Errors
    /// [`Error::Data`] for more than 2³² − 1 examples.
    pub fn add(&mut self, task: &str) -> Result<()> {
        if self.files.is_empty() {
            self.begin_file(1.0)?;
        }
        let number = self.count;
        self.count = number.checked_add(1).ok_or_else(too_many)?;
        if let Some((_, tasks)) = self.files.last_mut() {
            match tasks.get_mut(task) {
                Some(rows) => rows.push(number),
                None => drop(tasks.insert(task.to_owned(), vec![number])),
            }
        }
        Ok(())
    }

    /// How many examples of each task an epoch has.
    pub fn tasks(&self, mix: Mix) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        let names = self.files.iter().flat_map(|(_, tasks)| tasks.keys());
        for (task, group) in names.zip(self.groups(mix)) {
            *counts.entry(task.as_str()).or_default() += group.per_epoch;
        }
        counts
    }

    /// The groups that make up an epoch, which has about as many rows whatever the mix.
    pub fn groups(&self, mix: Mix) -> Vec<Group> {
        let all = || {
            self.files
                .iter()
                .flat_map(|(weight, tasks)| tasks.iter().map(move |group| (weight, group)))
        };
        let mut sizes: BTreeMap<&str, f64> = BTreeMap::new();
        for (weight, (task, rows)) in all() {
            *sizes.entry(task).or_default() += weight * rows.len() as f64;
        }
        let share = |size: f64| match mix {
            Mix::Proportional => size,
            Mix::Sqrt => size.sqrt(),
            Mix::Balanced => 1.0,
        };
        let total: f64 = sizes.values().sum();
        let shares: f64 = sizes.values().map(|size| share(*size)).sum();
        let group = |(weight, (task, rows)): (&f64, (&String, &Vec<u32>))| {
            let size = sizes[task.as_str()];
            let times = match mix {
                Mix::Proportional => *weight,
                _ => weight * total * share(size) / shares / size,
            };
            Group {
                rows: rows.clone(),
                // However few of its kind an epoch has, no row is left out for good.
                per_epoch: ((times * rows.len() as f64).round() as usize).max(1),
            }
        };
        all().map(group).collect()
    }
}

pub(super) fn too_many() -> Error {
    Error::data("there are more than 2^32 - 1 rows")
}
