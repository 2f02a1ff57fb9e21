//! One GET to a port of this machine, for `/healthz` and `/metrics`. No client library: the oracle's side of the tests
//! stays free of what the product uses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Text behind the headers.
    pub body: String,
}

/// Asks a server on this machine; an error if it does not answer within the limit.
pub fn get(port: u16, path: &str, limit: Duration) -> Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .context("sending a request")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("reading the answer of {address}{path}"))?;
    let text = String::from_utf8(bytes).context("the answer is text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no headers")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("the answer has no status")?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Metrics as `/metrics` prints them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    /// Reads the text of `/metrics`.
    pub fn parse(text: &str) -> Metrics {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            // Label values may hold blanks; the value is the last word.
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Metrics { samples: samples.collect() }
    }

    /// Sum of a metric over its labels; `None` where it does not occur.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut found = self.with_name(name).map(|(_, value)| value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// Value of the metric whose labels contain a text such as `table="shop.orders"`.
    pub fn labelled(&self, name: &str, label: &str) -> Option<f64> {
        self.with_name(name).find(|(labels, _)| labels.contains(label)).map(|(_, value)| value)
    }

    fn with_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.samples.iter().filter_map(move |(sample, value)| {
            let labels = sample.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text =
            "# TYPE a counter\na_total{table=\"x y\"} 3\na_total{table=\"z\"} 4\na_total_of_b 100\nup 1\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total"), Some(7.0));
        assert_eq!(metrics.labelled("a_total", "table=\"z\""), Some(4.0));
        assert_eq!(metrics.sum("up"), Some(1.0));
        assert_eq!(metrics.sum("missing"), None);
    }
}
