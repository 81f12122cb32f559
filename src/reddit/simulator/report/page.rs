//! The report as one page that needs nothing but itself.

use std::fmt::Write;

use super::document::Report;
use super::plots::{self, escaped};
use super::text;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#1d2733;background:#fff}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}pre{background:#f3f5f8;padding:.8em;overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #e3e8ee}th:first-child,td:first-child{text-align:left}
figure{margin:1.5em 0}figcaption{color:#5a6775;font-size:.9em}svg{width:100%;height:auto}
svg text{font-size:12px;fill:#5a6775}.axis{stroke:#dde3ea}.curve{fill:none;stroke-width:1.8}
.c0{stroke:#2166c4;color:#2166c4}.c1{stroke:#c8501e;color:#c8501e}.c2{stroke:#2c8a4b;color:#2c8a4b}
.c3{stroke:#8a4bb5;color:#8a4bb5}.c4{stroke:#a8862a;color:#a8862a}.c5{stroke:#1f8f96;color:#1f8f96}
.c6{stroke:#b83264;color:#b83264}.c7{stroke:#6b7683;color:#6b7683}.c8{stroke:#7aa6e8;color:#7aa6e8}
.c9{stroke:#e39a78;color:#e39a78}.c10{stroke:#86c99a;color:#86c99a}.c11{stroke:#c4a0dd;color:#c4a0dd}
.c12{stroke:#10213a;color:#10213a}circle{fill:currentColor;stroke:none}
@media(prefers-color-scheme:dark){body{background:#14191f;color:#dde4ec}pre{background:#1c232b}
th,td{border-color:#2b343e}.axis{stroke:#2b343e}svg text,figcaption{color:#93a1b0;fill:#93a1b0}}";

/// The whole report as HTML.
#[must_use]
pub fn page(report: &Report) -> String {
    let names: Vec<&str> = report.clients.iter().map(|client| client.name.as_str()).collect();
    let title = escaped(&format!("Simulated users: {}", names.join(", ")));
    let mut table = String::from("<table><thead><tr>");
    for column in text::COLUMNS {
        let _ = write!(table, "<th>{column}</th>");
    }
    table.push_str("</tr></thead><tbody>\n");
    for row in text::rows(report) {
        let cells: Vec<String> = row.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        let _ = writeln!(table, "<tr>{}</tr>", cells.concat());
    }
    table.push_str("</tbody></table>\n");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>{title}</h1>\n<h2>Actions</h2>\n{table}{}\n<h2>In the course of time</h2>\n{}\n\
         <h2>Ranks</h2>\n{}\n<h2>Everything as text</h2>\n<pre>{}</pre>\n</body></html>\n",
        plots::latencies(report),
        plots::course(report),
        plots::ranks(report),
        escaped(&text::text(report)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::report;
    use super::*;

    #[test]
    fn a_page_needs_nothing_but_itself_and_shows_names_as_they_are() {
        let page = page(&report("<b>&", &[900, 1000]));
        assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<b>"), "{page}");
        for word in ["http", "src=", "href=", "@import", "<script"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<svg").count(), 4);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
