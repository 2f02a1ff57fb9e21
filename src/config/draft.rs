//! The file that `tailrace init --source URL` writes: the template with the source that was named and the tables that it has.

use tailrace_contract::{SeenTable, SourceSettings};

use super::{Stores, TEMPLATE, checked, names::write_pair, problem::ConfigProblem, quoted_text, secret::Surroundings};

/// What the command line says of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its URL, without a password.
    pub url: String,
    /// The variable that holds the account's password.
    pub password_variable: String,
    /// TLS mode, if it is named.
    pub tls_mode: Option<String>,
    /// The authority's certificate, if it is named.
    pub ca: Option<String>,
}

impl Draft {
    /// The source to ask for its tables: judged as it will be in the file, secrets read.
    pub fn source(&self) -> Result<SourceSettings, Vec<ConfigProblem>> {
        let text = format!("[source]\n{}\nserver_id = 5501\n[[table]]\nsource = \"any.*\"\n", self.lines().join("\n"));
        let stores = Stores { source: true, log: false, target: false };
        let here = std::path::Path::new("");
        let surroundings = Surroundings { directory: here, variable: &|name| std::env::var_os(name), unread: None };
        checked::check(&text, stores, &surroundings).map(|config| config.source.settings)
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self, tables: &[SeenTable]) -> String {
        let mut lines = Vec::new();
        let mut section = "";
        for line in TEMPLATE.lines() {
            if line.starts_with('[') {
                section = line;
            }
            match section {
                "[source]" if line.starts_with("url = ") => lines.extend(self.lines()),
                "[source]" if line.starts_with("password = ") => {}
                "[source]" if line.starts_with("# tls = ") && self.has_tls() => {}
                "[[table]]" if line == section => lines.extend(tables.iter().flat_map(table_lines)),
                // The example's own lines, up to the blank one behind it.
                "[[table]]" if line.is_empty() => section = "",
                "[[table]]" => {}
                _ => lines.push(line.to_owned()),
            }
        }
        lines.join("\n") + "\n"
    }

    fn has_tls(&self) -> bool {
        self.tls_mode.is_some() || self.ca.is_some()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("url = {}", quoted_text(&self.url)),
            format!("password = {{ env = {} }}", quoted_text(&self.password_variable)),
        ];
        let pair =
            |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key} = {}", quoted_text(value)));
        let tls: Vec<String> = [pair("mode", &self.tls_mode), pair("ca", &self.ca)].into_iter().flatten().collect();
        if !tls.is_empty() {
            lines.push(format!("tls = {{ {} }}", tls.join(", ")));
        }
        lines
    }
}

/// One that can't be captured stays in the file, behind `#` and with the reason.
fn table_lines(table: &SeenTable) -> Vec<String> {
    let source = format!("source = {}", quoted_text(&write_pair(&table.name.database, Some(&table.name.table), '`')));
    match &table.obstacle {
        None => vec!["[[table]]".to_owned(), source, String::new()],
        Some(obstacle) => {
            let reason = obstacle.replace(char::is_control, " ");
            vec![
                format!("# Can't be captured: {reason}"),
                "# [[table]]".to_owned(),
                format!("# {source}"),
                String::new(),
            ]
        }
    }
}
