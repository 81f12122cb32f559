//! A step's trace: what provost did as it tells it, and the deaths as the dying processes tell them.

use crate::given::SUCCESS;

/// One token of a trace, as in cases.md, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) at_ns: u64,
    pub(crate) text: String,
}

/// How a trace writes an exit.
pub(crate) fn shown(number: i32, signal: bool) -> String {
    match (number, signal) {
        (code, false) if code == i32::from(SUCCESS) => "ok-code".into(),
        (code, false) => code.to_string(),
        (libc::SIGKILL, true) => "KILL".into(),
        (libc::SIGTERM, true) => "TERM".into(),
        (signal, true) => format!("signal {signal}"),
    }
}

/// Deeds in their order, each death before the first deed that comes after it.
pub(crate) fn merge(deeds: Vec<Token>, deaths: Vec<Token>) -> Vec<Token> {
    let mut merged = deeds;
    for death in deaths {
        let at = merged.iter().position(|token| token.at_ns > death.at_ns).unwrap_or(merged.len());
        merged.insert(at, death);
    }
    merged
}

pub(crate) fn texts(tokens: &[Token]) -> Vec<String> {
    tokens.iter().map(|token| token.text.clone()).collect()
}
