//! The costs as a table.

use super::{Cost, Row};
use std::fmt::Write as _;

/// Two tables, with the growth of each figure: against the next smaller number of nodes, and of lockspaces.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let death: fn(&Row) -> Cost = |row| row.death;
    for (title, cost) in [("death", death), ("join", |row| row.join)] {
        let heads = ["", "", "", "core ms", "growth with nodes", "growth with lockspaces"];
        let _ = writeln!(text, "{}", line(title, heads));
        let heads = ["lockspaces", "messages", "bytes", "of a node", GROWTH_OF, GROWTH_OF];
        let _ = writeln!(text, "{}", line("nodes", heads));
        for row in rows {
            let Cost { messages, bytes, core } = cost(row);
            let fewer_nodes = rows
                .iter()
                .rfind(|other| other.lockspaces == row.lockspaces && other.nodes < row.nodes);
            let fewer_lockspaces = rows
                .iter()
                .rfind(|other| other.nodes == row.nodes && other.lockspaces < row.lockspaces);
            let growth = |other: Option<&Row>| {
                other.map(|other| growth(cost(other), cost(row))).unwrap_or_default()
            };
            let figures = [
                row.lockspaces.to_string(),
                messages.to_string(),
                bytes.to_string(),
                format!("{:.3}", core.as_secs_f64() * 1000.0),
                growth(fewer_nodes),
                growth(fewer_lockspaces),
            ];
            let _ = writeln!(text, "{}", line(&row.nodes.to_string(), figures.each_ref()));
        }
        text.push('\n');
    }
    text
}

fn line(first: &str, rest: [impl std::fmt::Display; 6]) -> String {
    let [lockspaces, messages, bytes, core, nodes, more] = rest;
    let text = format!(
        "{first:5} {lockspaces:>10} {messages:>10} {bytes:>12} {core:>11}   {nodes:24}   {more}"
    );
    text.trim_end().to_owned()
}

const GROWTH_OF: &str = "messages   bytes    core";

fn growth(before: Cost, now: Cost) -> String {
    let times = |before: f64, now: f64| now / before.max(f64::MIN_POSITIVE);
    let count = |number: u64| u32::try_from(number).map_or(f64::INFINITY, f64::from);
    format!(
        "{:7.2}x {:6.1}x {:6.1}x",
        times(count(before.messages), count(now.messages)),
        // Kilobytes: more than four gigabytes go over no wire at once.
        times(count(before.bytes / 1024), count(now.bytes / 1024)),
        times(before.core.as_secs_f64(), now.core.as_secs_f64())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn growth_is_against_the_next_smaller_cluster() {
        let row = |nodes, lockspaces, messages: u64| {
            let core = Duration::from_millis(messages);
            let cost = Cost { messages, bytes: messages * 4096, core };
            Row { nodes, lockspaces, death: cost, join: cost }
        };
        let text = table(&[row(3, 1, 10), row(3, 10, 100), row(6, 1, 20), row(6, 10, 200)]);
        let line = text.lines().nth(5).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "6", "10", "200", "819200", "200.000", "2.00x", "2.0x", "2.0x", "10.00x", "10.0x",
                "10.0x"
            ]
        );
        assert_eq!(text.lines().count(), 14);
    }
}
