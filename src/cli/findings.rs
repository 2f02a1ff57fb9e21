//! How `tailrace check` tells what it found.

use tailrace_contract::Severity;

use super::OutputFormat;
use crate::{
    mapping::policy,
    preflight::{Finding, Findings, TablePolicies},
};

/// What is printed.
pub(super) fn text(findings: &Findings, format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => {
            serde_json::to_string_pretty(findings).expect("invariant: findings hold only texts and numbers") + "\n"
        }
        OutputFormat::Text => {
            let told: String = findings.problems.iter().map(one).collect();
            let policies: String = findings.policies.iter().map(policies).collect();
            told + &policies + &sum(findings)
        }
    }
}

fn one(finding: &Finding) -> String {
    let problem = &finding.problem;
    // Names are somebody else's: none may move the cursor.
    let shown = |text: &str| text.replace(|c: char| c.is_control(), "?");
    let severity = match problem.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "warning",
    };
    let mut text = format!(
        "{severity:<7} {} {} ({})\n        found:  {}\n        needed: {}\n",
        finding.place.name(),
        shown(&problem.object),
        problem.code,
        shown(&problem.found),
        shown(&problem.needed)
    );
    if let Some(mend) = &problem.mend {
        // A statement of several lines stays in its column.
        let lines: Vec<String> = mend.lines().map(shown).collect();
        text.push_str(&format!("        mend:   {}\n", lines.join("\n                ")));
    }
    text.push('\n');
    text
}

/// What a table's columns may have and the target can't hold: neither error nor warning as long as there is no such value.
fn policies(table: &TablePolicies) -> String {
    let shown = |text: &str| text.replace(|c: char| c.is_control(), "?");
    let mut text =
        format!("note    target {}: not every value of {} can be held\n", shown(&table.target), shown(&table.source));
    for line in policy::lines(&table.columns) {
        text.push_str(&format!("        {}\n", shown(&line)));
    }
    text + "\n"
}

fn sum(findings: &Findings) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let counts = format!("{}, {}", count(findings.errors, "error"), count(findings.warnings, "warning"));
    if findings.usable { format!("usable: {counts}\n") } else { format!("not usable: {counts}\n") }
}

#[cfg(test)]
mod tests {
    use tailrace_contract::Problem;

    use super::*;
    use crate::preflight::Place;

    fn findings() -> Findings {
        let problem = Problem {
            code: "binlog_row_image",
            severity: Severity::Error,
            object: "server variable binlog_row_image".into(),
            found: "MINIMAL".into(),
            needed: "FULL".into(),
            mend: Some("SET PERSIST\nbinlog_row_image = 'FULL'".into()),
        };
        let problems = vec![Finding { place: Place::Source, problem }];
        Findings { errors: 1, problems, ..Findings::default() }
    }

    #[test]
    fn a_person_reads_what_was_found_and_what_mends_it() {
        let expected = "ERROR   source server variable binlog_row_image (binlog_row_image)\n        found:  MINIMAL\n        \
                        needed: FULL\n        mend:   SET PERSIST\n                binlog_row_image = 'FULL'\n\n\
                        not usable: 1 error, 0 warnings\n";
        assert_eq!(text(&findings(), OutputFormat::Text), expected);
        assert_eq!(
            text(&Findings { usable: true, warnings: 2, ..Findings::default() }, OutputFormat::Text),
            "usable: 0 errors, 2 warnings\n"
        );
    }

    #[test]
    fn a_program_reads_one_flat_object_per_problem() {
        let told: serde_json::Value = serde_json::from_str(&text(&findings(), OutputFormat::Json)).unwrap();
        assert_eq!(told["usable"], false);
        let problem = &told["problems"][0];
        for (key, value) in
            [("place", "source"), ("code", "binlog_row_image"), ("severity", "error"), ("needed", "FULL")]
        {
            assert_eq!(problem[key], value, "{key}");
        }
    }
}
