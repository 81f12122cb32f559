//! What the bodies of requests may say. Unknown fields are refused: a slip must not be taken for a default.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::admin::{Add, Apply};
use super::api::{ApiError, ErrorCode, Request};

/// `POST /v1/children`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<String>,
    /// A `[[child]]` in TOML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) child: Option<String>,
    /// What complaints about it call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
}

/// `POST /v1/scale`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScaleBody {
    pub(super) name: String,
    pub(super) instances: u32,
}

/// `POST /v1/reload`; may be empty.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReloadBody {
    pub(super) apply: Apply,
}

/// `POST /v1/upgrade`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpgradeBody {
    /// Absolute path of the program.
    pub(super) binary: PathBuf,
}

pub(super) fn upgrade(body: &[u8]) -> Result<Request, ApiError> {
    let UpgradeBody { binary } = read(body, "write {\"binary\": \"/path/to/provost\"}")?;
    Ok(Request::Upgrade(binary))
}

pub(super) fn add(body: &[u8]) -> Result<Request, ApiError> {
    let usage = "write {\"child\": \"[[child]]...\"}, or {\"parent\": \"TEMPLATE\", \"args\": [...]}";
    let AddBody { parent, child, file, name, args } = read(body, usage)?;
    let add = match child {
        Some(text) if name.is_none() && args.is_empty() => {
            Add::Child { parent, file: file.unwrap_or_else(|| "child".into()), text }
        }
        Some(_) => {
            let message = "\"name\" and \"args\" are for instances of a template, not for a child of its own";
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        }
        None => Add::Instance { parent, name, args },
    };
    Ok(Request::Add(add))
}

pub(super) fn scale(body: &[u8]) -> Result<Request, ApiError> {
    let ScaleBody { name, instances } = read(body, "write {\"name\": \"web\", \"instances\": 3}")?;
    Ok(Request::Scale(name, instances))
}

pub(super) fn reload(body: &[u8]) -> Result<Request, ApiError> {
    let usage = "write {\"apply\": \"settings\"}, \"children\" or \"restart\"";
    let ReloadBody { apply } = if body.is_empty() { ReloadBody::default() } else { read(body, usage)? };
    Ok(Request::Reload(apply))
}

fn read<T: DeserializeOwned>(body: &[u8], usage: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::new(ErrorCode::BadRequest, format!("the body makes no sense ({error}); {usage}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_understood() {
        let text = br#"{"child": "[[child]]", "parent": "p", "file": "x.toml"}"#;
        let child = Add::Child { parent: Some("p".into()), file: "x.toml".into(), text: "[[child]]".into() };
        assert_eq!(add(text), Ok(Request::Add(child)));
        let instance = Add::Instance { parent: Some("p".into()), name: None, args: vec!["-x".into()] };
        assert_eq!(add(br#"{"parent": "p", "args": ["-x"]}"#), Ok(Request::Add(instance)));
        assert_eq!(scale(br#"{"name": "web", "instances": 3}"#), Ok(Request::Scale("web".into(), 3)));
        assert_eq!(reload(b""), Ok(Request::Reload(Apply::Settings)));
        assert_eq!(reload(br#"{"apply": "restart"}"#), Ok(Request::Reload(Apply::Restart)));
    }

    #[test]
    fn slips_are_no_defaults() {
        for body in [r#"{"childs": "x"}"#, r#"{"child": "x", "args": ["y"]}"#, "", r#"{"args": [1]}"#] {
            assert_eq!(add(body.as_bytes()).unwrap_err().code, ErrorCode::BadRequest, "{body}");
        }
        for body in [r#"{"name": "web"}"#, r#"{"name": "web", "instances": -1}"#, ""] {
            assert_eq!(scale(body.as_bytes()).unwrap_err().code, ErrorCode::BadRequest, "{body}");
        }
        for body in [r#"{"apply": true}"#, r#"{"aply": "restart"}"#] {
            assert_eq!(reload(body.as_bytes()).unwrap_err().code, ErrorCode::BadRequest, "{body}");
        }
    }
}
