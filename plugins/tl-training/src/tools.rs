//! The tools that a row offers, from its column.

use serde_json::Value;

/// A tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The names of its parameters; none if the data does not tell.
    pub parameters: Option<Vec<String>>,
}

/// The tools of a cell: a JSON list of names, of `{"name", "parameters"}`, or of `{"function": {...}}` with the same in it. None if it is no such list.
pub fn tools(cell: &str) -> Option<Vec<Tool>> {
    let list: Vec<Value> = serde_json::from_str(cell).ok()?;
    list.iter().map(tool).collect()
}

fn tool(value: &Value) -> Option<Tool> {
    if let Some(name) = value.as_str() {
        return Some(Tool { name: name.to_owned(), parameters: None });
    }
    let value = value.get("function").unwrap_or(value);
    Some(Tool {
        name: value.get("name")?.as_str()?.to_owned(),
        parameters: value.get("parameters").and_then(parameters),
    })
}

/// Names of a JSON schema's properties, of a list of names or of `{"name"}`, or the keys of an object.
fn parameters(value: &Value) -> Option<Vec<String>> {
    match value.get("properties").unwrap_or(value) {
        Value::Object(fields) if value.get("properties").is_none() && fields.contains_key("type") => Some(Vec::new()),
        Value::Object(fields) => Some(fields.keys().cloned().collect()),
        Value::Array(list) => {
            let name = |it: &Value| it.as_str().or_else(|| it.get("name")?.as_str()).map(str::to_owned);
            list.iter().map(name).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &str, name: &str, parameters: Option<&[&str]>) {
        let parameters = parameters.map(|names| names.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(tools(cell), Some(vec![Tool { name: name.to_owned(), parameters }]), "{cell}");
    }

    #[test]
    fn descriptions_of_several_forms_are_read() {
        check(r#"["f"]"#, "f", None);
        check(r#"[{"name":"f"}]"#, "f", None);
        check(r#"[{"name":"f","parameters":{"type":"object","properties":{"a":{},"b":{}}}}]"#, "f", Some(&["a", "b"]));
        check(r#"[{"type":"function","function":{"name":"f","parameters":["a"]}}]"#, "f", Some(&["a"]));
        check(r#"[{"name":"f","parameters":[{"name":"a"}]}]"#, "f", Some(&["a"]));
        check(r#"[{"name":"f","parameters":{"a":"text","b":"number"}}]"#, "f", Some(&["a", "b"]));
        check(r#"[{"name":"f","parameters":{"type":"object"}}]"#, "f", Some(&[]));
        check(r#"[{"name":"f","parameters":{}}]"#, "f", Some(&[]));
    }

    #[test]
    fn other_cells_are_no_tools() {
        for cell in ["", "f", "{}", "[1]", r#"[{"title":"f"}]"#] {
            assert_eq!(tools(cell), None, "{cell}");
        }
    }
}
