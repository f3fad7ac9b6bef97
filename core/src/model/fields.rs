//! A JSON object's fields as they are read: absent, null, of another type.

use crate::{Error, Result};
use serde_json::{Map, Value};

/// The fields of one JSON object, read by name and type.
pub(super) struct Fields<'a> {
    /// What to put before a field's name in an error: `rope_scaling.`
    pub at: &'static str,
    pub map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The field, unless absent or null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// There, and null: transformers' defaults are for absent fields only.
    pub fn is_null(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(Value::is_null)
    }

    pub fn wrong(&self, field: &str, want: &str, got: &Value) -> Error {
        Error::config(format!("{}{field}", self.at), format!("expected {want}, found {got}"))
    }

    pub fn size(&self, field: &str) -> Result<Option<usize>> {
        let convert = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.get(field)
            .map(|v| convert(v).ok_or_else(|| self.wrong(field, "a whole number", v)))
            .transpose()
    }

    pub fn required(&self, field: &str) -> Result<usize> {
        self.size(field)?
            .ok_or_else(|| Error::config(format!("{}{field}", self.at), "missing"))
    }

    pub fn number(&self, field: &str) -> Result<Option<f64>> {
        self.get(field)
            .map(|v| v.as_f64().ok_or_else(|| self.wrong(field, "a number", v)))
            .transpose()
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.get(field)
            .map(|v| v.as_bool().ok_or_else(|| self.wrong(field, "true or false", v)))
            .transpose()
    }

    pub fn id(&self, field: &str, value: &Value) -> Result<u32> {
        let id = value.as_u64().and_then(|n| u32::try_from(n).ok());
        id.ok_or_else(|| self.wrong(field, "a token id", value))
    }

    pub fn token(&self, field: &str, default: Option<u32>) -> Result<Option<u32>> {
        match self.map.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            // Llama 3's configuration names its padding token so where it has none.
            Some(value) if value.as_i64() == Some(-1) => Ok(None),
            Some(value) => self.id(field, value).map(Some),
        }
    }

    pub fn tokens(&self, field: &str, default: Vec<u32>) -> Result<Vec<u32>> {
        match self.map.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(vec![]),
            Some(Value::Array(list)) => list.iter().map(|value| self.id(field, value)).collect(),
            Some(value) => self.id(field, value).map(|id| vec![id]),
        }
    }
}
