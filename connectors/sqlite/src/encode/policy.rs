//! Column policies, compiled into a column's codec: a value that can't be held costs a second look, every other one nothing.

use tailrace_contract::{
    Literal, Policy,
    print::{self, NoPrint, Paper, Printed},
};
use tailrace_row::{ColumnType, Field, Value};

use super::{Codec, Form, Refusal, add_text};
use crate::{parameters::Parameters, target_type::TargetType};

/// What stands for a value that can't be held.
#[derive(Debug)]
pub(super) enum StandIn {
    Null,
    Sentinel(Literal),
}

/// Every value as its print.
#[derive(Debug)]
pub(super) struct PrintForm {
    source: ColumnType,
    paper: Paper,
}

impl Codec {
    /// The codec of a column that [`crate::check::judge`] lets through; the error says why the policy can't be compiled.
    pub(crate) fn by_policy(
        source: &ColumnType,
        target: TargetType,
        is_nullable: bool,
        (policy, is_key): (&Policy, bool),
    ) -> Result<Self, String> {
        let mut codec = Self::new(source, target, is_nullable, is_key);
        match policy {
            Policy::Reject => {}
            Policy::Null => codec.stand_in = Some(StandIn::Null),
            Policy::Sentinel(text) => {
                let literal = Literal::parse(source, text);
                let literal = literal.map_err(|form| format!("no value of the column, which wants {form}"))?;
                let written = codec.write_sentinel(&literal, &mut String::new(), &mut Parameters::default());
                written.map_err(|refusal| refusal.to_string())?;
                codec.stand_in = Some(StandIn::Sentinel(literal));
            }
            Policy::Text => {
                let paper = Paper { is_key, holds_nul: true };
                codec.form = Form::Print(PrintForm { source: source.clone(), paper });
            }
        }
        Ok(codec)
    }

    /// Adds what stands for a value that can't be held; nothing was added for the value itself.
    #[cold]
    pub(super) fn write_stand_in(
        &self,
        refusal: Refusal,
        text: &mut String,
        parameters: &mut Parameters,
    ) -> Result<(), Refusal> {
        match &self.stand_in {
            Some(StandIn::Null) if refusal.is_unholdable() => {
                parameters.null();
                Ok(())
            }
            Some(StandIn::Sentinel(literal)) if refusal.is_unholdable() => {
                self.write_sentinel(literal, text, parameters)
            }
            Some(_) | None => Err(refusal),
        }
    }

    fn write_sentinel(&self, literal: &Literal, text: &mut String, parameters: &mut Parameters) -> Result<(), Refusal> {
        match (&self.form, literal.value()) {
            // Any text may stand for a label.
            (Form::Enum { .. } | Form::Set { .. }, Value::Text(label)) => add_text(label, parameters),
            (_, value) => self.write_value(value, text, parameters),
        }
    }

    /// Whether the policy makes a difference for this field.
    pub(crate) fn uses_policy(&self, field: Field<'_>, text: &mut String) -> bool {
        let Field::Value(value) = field else { return false };
        match (&self.form, &self.stand_in) {
            (Form::Print(form), _) => {
                text.clear();
                form.print(value, text) == Ok(Printed::Escaped)
            }
            (_, None) => false,
            (_, Some(_)) => {
                self.write_value(value, text, &mut Parameters::default()).is_err_and(Refusal::is_unholdable)
            }
        }
    }
}

impl PrintForm {
    pub(super) fn print(&self, value: Value<'_>, text: &mut String) -> Result<Printed, Refusal> {
        print::print(&self.source, value, self.paper, text).map_err(|reason| match reason {
            NoPrint::OtherType => Refusal::OtherType,
            NoPrint::TooFine => Refusal::TooFine,
        })
    }
}
