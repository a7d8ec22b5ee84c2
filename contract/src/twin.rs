//! Enums that stand both in the rules and on the wire: one table per pair gives both directions.
//!
//! A number nobody knows, and `UNSPECIFIED`, are refused with the field named, never guessed.

use buffa::{EnumValue, Enumeration};
use quantix_model::Fault;

/// An enum of the rules that has a twin on the wire.
pub trait Twin: Copy + Sized {
    /// The generated enum.
    type Wire: Enumeration + Copy;
    /// The wire's word for it.
    fn to_wire(self) -> Self::Wire;
    /// The rule's word for it; `None` for `UNSPECIFIED`.
    fn from_wire(wire: Self::Wire) -> Option<Self>;
}

/// The value as a message field holds it.
pub fn write<T: Twin>(value: T) -> EnumValue<T::Wire> {
    EnumValue::from(value.to_wire())
}

/// Reads a field that must be set.
pub fn read<T: Twin>(field: &str, value: EnumValue<T::Wire>) -> Result<T, Fault> {
    value.as_known().and_then(T::from_wire).ok_or_else(|| refuse(field, value.to_i32()))
}

/// Reads a field that may be left out.
pub fn read_opt<T: Twin>(field: &str, value: EnumValue<T::Wire>) -> Result<Option<T>, Fault> {
    if value.to_i32() == 0 { Ok(None) } else { read(field, value).map(Some) }
}

/// Reads a field where leaving it out means `default`.
pub fn read_or<T: Twin>(field: &str, value: EnumValue<T::Wire>, default: T) -> Result<T, Fault> {
    if value.to_i32() == 0 { Ok(default) } else { read(field, value) }
}

fn refuse(field: &str, number: i32) -> Fault {
    if number == 0 {
        return Fault::invalid(
            field,
            format!("The field {field} is missing."),
            "Choose one of the values the contract lists.",
        );
    }
    Fault::invalid(
        field,
        format!("The field {field} holds {number}, which this release does not know."),
        "Choose one of the values the contract lists, or update this side of Quantix.",
    )
}

/// The fault for a message field that must be there.
pub(crate) fn missing(field: &str) -> Fault {
    Fault::invalid(field, format!("The field {field} is missing."), "Fill it in.")
}

/// Makes the twins of an enum from one table: `model => wire { Rule = WIRE, … }`, `"field"` being its usual name.
macro_rules! twins {
    ($model:ty => $wire:ty, $field:literal { $($rule:ident = $word:ident,)* }) => {
        impl $crate::twin::Twin for $model {
            type Wire = $wire;
            fn to_wire(self) -> $wire {
                match self { $(<$model>::$rule => <$wire>::$word,)* }
            }
            fn from_wire(wire: $wire) -> Option<$model> {
                $(if wire == <$wire>::$word { return Some(<$model>::$rule); })*
                None
            }
        }
        impl From<$model> for $wire {
            fn from(value: $model) -> $wire {
                $crate::twin::Twin::to_wire(value)
            }
        }
        impl TryFrom<&$wire> for $model {
            type Error = quantix_model::Fault;
            fn try_from(wire: &$wire) -> Result<$model, quantix_model::Fault> {
                $crate::twin::read($field, (*wire).into())
            }
        }
    };
}
pub(crate) use twins;

/// Every known wire value but `UNSPECIFIED` has a twin and comes back; strangers are refused with the field named.
#[cfg(test)]
pub(crate) fn check_table<T: Twin + PartialEq + std::fmt::Debug>()
where
    T::Wire: PartialEq + std::fmt::Debug,
{
    let mut known = 0;
    for number in 1..100 {
        let Some(wire) = T::Wire::from_i32(number) else { continue };
        let rule = T::from_wire(wire).unwrap_or_else(|| panic!("{wire:?} has no twin"));
        assert_eq!(rule.to_wire(), wire);
        assert_eq!(read::<T>("f", write(rule)), Ok(rule));
        known += 1;
    }
    assert!(known > 0);
    for stranger in [0, -1, 99, i32::MAX] {
        let fault = read::<T>("some.field", EnumValue::from(stranger)).expect_err("a stranger");
        assert_eq!(fault.code, quantix_model::FaultCode::InvalidArgument);
        assert_eq!(fault.field, "some.field");
    }
}
