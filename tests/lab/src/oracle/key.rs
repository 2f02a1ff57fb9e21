//! The order of keys on our side: the one in which both databases were asked to sort.

use std::cmp::Ordering;

use super::columns::Form;

/// Compares two printed keys, column by column.
pub(super) fn compare(forms: &[Form], left: &[String], right: &[String]) -> Ordering {
    let parts = forms.iter().zip(left.iter().zip(right));
    parts
        .map(|(form, (left, right))| compare_part(*form, left, right))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_part(form: Form, left: &str, right: &str) -> Ordering {
    match form {
        Form::Number => compare_numbers(left, right),
        Form::Text | Form::Float | Form::Json => left.cmp(right),
    }
}

/// Numbers of any length as the databases print them: no leading zeros, no exponent.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    match (left.strip_prefix('-'), right.strip_prefix('-')) {
        (None, None) => compare_digits(left, right),
        (Some(left), Some(right)) => compare_digits(right, left),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

fn compare_digits(left: &str, right: &str) -> Ordering {
    let split = |text: &str| {
        text.split_once('.').map_or((text.len(), String::new()), |(whole, fraction)| (whole.len(), fraction.to_owned()))
    };
    let ((left_length, left_fraction), (right_length, right_fraction)) = (split(left), split(right));
    left_length
        .cmp(&right_length)
        .then_with(|| left[..left_length].cmp(&right[..right_length]))
        .then_with(|| left_fraction.cmp(&right_fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_as_numbers_of_any_length() {
        let sorted = [
            "-100.5",
            "-99",
            "-1",
            "-0.5",
            "0",
            "0.25",
            "0.5",
            "1",
            "2",
            "10",
            "18446744073709551615",
            "20000000000000000000",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(compare_numbers(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare_numbers(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn the_first_differing_column_decides() {
        let forms = [Form::Text, Form::Number];
        let key = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(compare(&forms, &key("B", "9"), &key("a", "1")), Ordering::Less, "text is ordered by bytes");
        assert_eq!(compare(&forms, &key("a", "9"), &key("a", "10")), Ordering::Less);
        assert_eq!(compare(&forms, &key("a", "9"), &key("a", "9")), Ordering::Equal);
    }
}
