//! `${NAME}` in strings.
//!
//! provost's own: `${CONFIG_DIR}`, `${RUN_DIR}`, `${LOG_DIR}`, `${NAME}` (the child's, with its instance) and
//! `${INSTANCE}`; every other name is an environment variable of provost itself. `$${` stands for a literal `${`. A `$`
//! before anything else is just a `$`, so that `$HOME` and `$$` reach a shell as they are.

use std::ffi::OsStr;
use std::path::Path;

use super::context::Context;
use crate::suggest::nearest;

/// What the variables mean at one place of the file.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) context: &'a Context,
    /// Folder of the config file.
    pub(crate) config_dir: &'a Path,
    /// `None` where it is just being decided.
    pub(crate) run_dir: Option<&'a Path>,
    /// `None` where it is just being decided.
    pub(crate) log_dir: Option<&'a Path>,
    /// The child, `None` outside of one.
    pub(crate) name: Option<&'a str>,
    /// `None` where there is only one.
    pub(crate) instance: Option<u32>,
    /// The child that has another number of instances than its text says, and that number.
    pub(crate) scaled: Option<(&'a str, u32)>,
}

/// A `${...}` that cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// As written.
    pub(crate) reference: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

const OWN: [&str; 5] = ["CONFIG_DIR", "RUN_DIR", "LOG_DIR", "NAME", "INSTANCE"];

/// Replaces every `${NAME}` of a text.
pub(crate) fn expand(text: &str, scope: &Scope) -> Result<String, Vec<Fault>> {
    let mut result = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(dollar);
        result.push_str(before);
        rest = if let Some(after) = from_dollar.strip_prefix("$${") {
            result.push_str("${");
            after
        } else if let Some(inside) = from_dollar.strip_prefix("${") {
            let Some((name, after)) = inside.split_once('}') else {
                faults.push(unclosed(from_dollar));
                return Err(faults);
            };
            match scope.meaning(name) {
                Ok(value) => result.push_str(&value),
                Err((message, hint)) => {
                    faults.push(Fault { reference: format!("${{{name}}}"), message, hint })
                }
            }
            after
        } else {
            result.push('$');
            &from_dollar[1..]
        };
    }
    result.push_str(rest);
    if faults.is_empty() { Ok(result) } else { Err(faults) }
}

impl Scope<'_> {
    fn meaning(&self, name: &str) -> Result<String, (String, String)> {
        let folder = |path: Option<&Path>| {
            let text = path.and_then(Path::to_str).map(str::to_owned);
            text.ok_or_else(|| ("is not known here".into(), "write the path itself".into()))
        };
        match name {
            "CONFIG_DIR" => folder(Some(self.config_dir)),
            "RUN_DIR" => folder(self.run_dir),
            "LOG_DIR" => folder(self.log_dir),
            "NAME" => self.name.map(str::to_owned).ok_or_else(outside),
            "INSTANCE" if self.name.is_none() => Err(outside()),
            "INSTANCE" => self.instance.map(|instance| instance.to_string()).ok_or_else(|| {
                (
                    "has no meaning in a child without instances".into(),
                    "write instances = N, or take it out".into(),
                )
            }),
            _ => self.variable(name),
        }
    }

    fn variable(&self, name: &str) -> Result<String, (String, String)> {
        let mut bytes = name.bytes();
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        if !bytes.next().is_some_and(letter) || !bytes.all(|byte| letter(byte) || byte.is_ascii_digit()) {
            let hint = "write ${NAME} with a plain name, or $${ for a literal ${ (what a shell is to expand)";
            return Err(("is not the name of a variable".into(), hint.into()));
        }
        match self.context.env.get(OsStr::new(name)) {
            Some(value) => value.to_str().map(str::to_owned).ok_or_else(|| {
                (
                    "is an environment variable whose value is not UTF-8".into(),
                    "write the value itself".into(),
                )
            }),
            None => {
                let hint = match nearest(name, OWN) {
                    Some(near) => format!("did you mean ${{{near}}}?"),
                    None => "set it in provost's environment, or write $${ for a literal ${".into(),
                };
                Err(("is neither one of provost's own names nor an environment variable".into(), hint))
            }
        }
    }
}

fn outside() -> (String, String) {
    ("has a meaning only inside a [[child]]".into(), "write the name itself".into())
}

fn unclosed(from_dollar: &str) -> Fault {
    Fault {
        reference: from_dollar.to_owned(),
        message: "has no closing brace".into(),
        hint: "write ${NAME}, or $${ for a literal ${".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Vec<Fault>> {
        let mut context = Context::default();
        context.env.insert("HOME".into(), "/home/ann".into());
        context.env.insert("RUN_DIR".into(), "/never/this/one".into());
        let scope = Scope {
            context: &context,
            config_dir: Path::new("/srv/app"),
            run_dir: Some(Path::new("/run/app")),
            log_dir: None,
            name: Some("web@2"),
            instance: Some(2),
            scaled: None,
        };
        expand(text, &scope)
    }

    #[test]
    fn own_names_come_before_the_environment() {
        assert_eq!(
            expanded("${RUN_DIR}/${NAME}.${INSTANCE}:${HOME}"),
            Ok("/run/app/web@2.2:/home/ann".into())
        );
        assert_eq!(expanded("${CONFIG_DIR}"), Ok("/srv/app".into()));
    }

    #[test]
    fn only_a_brace_makes_a_dollar_special() {
        assert_eq!(expanded("$HOME $$ $"), Ok("$HOME $$ $".into()));
        assert_eq!(expanded("$${HOME} $$${HOME}"), Ok("${HOME} $${HOME}".into()));
        assert_eq!(expanded("ž${HOME}ž"), Ok("ž/home/annž".into()));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let faults = expanded("${RUNDIR} ${NOPE} ${A:-b} ${} ${LOG_DIR} ${open").expect_err("faults");
        let references: Vec<_> = faults.iter().map(|fault| fault.reference.as_str()).collect();
        assert_eq!(references, ["${RUNDIR}", "${NOPE}", "${A:-b}", "${}", "${LOG_DIR}", "${open"]);
        assert_eq!(faults[0].hint, "did you mean ${RUN_DIR}?");
    }
}
