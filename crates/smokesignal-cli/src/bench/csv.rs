//! Converts a row to CSV.
//!
//! The CSV is made from the JSON of the row, so that the two formats always agree: a visitor walks
//! through the JSON in its order and emits a cell per value. Only what rows contain is supported;
//! a list, a Boolean or a negative whole number is an error.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

/// Returns the header line and the line of the row.
pub(super) fn lines(row: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(row)?;
    let mut cells = Vec::new();
    Flat { name: "", cells: &mut cells }.deserialize(&mut serde_json::Deserializer::from_str(&json))?;
    let (names, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
    Ok(format!("{}\n{}\n", names.join(","), values.join(",")))
}

/// Collects the cells of a JSON value. A field of an object inside of another one is named
/// `outer_inner`.
struct Flat<'a> {
    name: &'a str,
    cells: &'a mut Vec<(String, String)>,
}

impl Flat<'_> {
    /// Adds a cell under the present name.
    fn cell(self, text: impl ToString) {
        self.cells.push((self.name.to_owned(), text.to_string()));
    }
}

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that contains only numbers, strings and objects")
    }

    /// Descends into an object: its fields get the name of the object in front of theirs.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let name = if self.name.is_empty() { key } else { format!("{}_{key}", self.name) };
            map.next_value_seed(Flat { name: &name, cells: self.cells })?;
        }
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.cell(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.cell(value);
        Ok(())
    }

    /// The strings of a row are names and versions, which need no quotes.
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.cell(value);
        Ok(())
    }

    /// An unknown value is an empty cell.
    fn visit_unit<E>(self) -> Result<(), E> {
        self.cell("");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_objects_are_flattened() {
        let row = json!({"a": 1, "b": {"c": 2.5, "d": null}, "e": "x"});
        assert_eq!(lines(&row).unwrap(), "a,b_c,b_d,e\n1,2.5,,x\n");
    }
}
