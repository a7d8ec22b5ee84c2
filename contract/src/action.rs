//! `allowed_actions` on the wire.

use crate::quantix::action::v1 as wire;
use quantix_model::vm::AllowedAction;

impl From<&AllowedAction> for wire::AllowedAction {
    fn from(action: &AllowedAction) -> wire::AllowedAction {
        wire::AllowedAction {
            verb: action.verb.clone(),
            allowed: action.reason_if_not.is_none(),
            reason_if_not: action.reason_if_not.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

impl From<&wire::AllowedAction> for AllowedAction {
    fn from(action: &wire::AllowedAction) -> AllowedAction {
        AllowedAction {
            verb: action.verb.clone(),
            reason_if_not: (!action.allowed).then(|| action.reason_if_not.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for reason in [None, Some("It is off.".to_owned())] {
            let action = AllowedAction { verb: "start".into(), reason_if_not: reason };
            assert_eq!(AllowedAction::from(&wire::AllowedAction::from(&action)), action);
        }
    }
}
