//! A row as CSV: its JSON, flattened, so that the two cannot tell different things.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

/// The headings and the row.
pub(super) fn lines(row: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(row)?;
    let mut cells = Vec::new();
    Flat { name: "", cells: &mut cells }.deserialize(&mut serde_json::Deserializer::from_str(&json))?;
    let (names, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
    Ok(format!("{}\n{}\n", names.join(","), values.join(",")))
}

/// Walks through the JSON in its order: a field in an object in a field is called `outer_inner`.
struct Flat<'a> {
    name: &'a str,
    cells: &'a mut Vec<(String, String)>,
}

impl Flat<'_> {
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
        f.write_str("an object of numbers, texts and objects")
    }

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

    /// Names and versions: nothing that would need quotes.
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.cell(value);
        Ok(())
    }

    /// What is not known is left empty.
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
    fn objects_in_objects_are_flattened() {
        let row = json!({"a": 1, "b": {"c": 2.5, "d": null}, "e": "x"});
        assert_eq!(lines(&row).unwrap(), "a,b_c,b_d,e\n1,2.5,,x\n");
    }
}
