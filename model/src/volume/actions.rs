//! What may be done with a volume now, and why the rest may not. The same rule offers and refuses.

use super::VolumePhase;
use crate::fault::{Fault, FaultCode};
use crate::pool::Capabilities;
use crate::vm::{AllowedAction, PowerState};

/// What a person may want of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeVerb {
    /// Make it larger.
    Grow,
    /// Make it independent of what it is linked to.
    Flatten,
    /// Make another with the same contents.
    Clone,
    /// Keep how it is now.
    Snapshot,
    /// Throw away what was written since a snapshot.
    Revert,
    /// Give it to a VM.
    Attach,
    /// Take it away again.
    Detach,
    /// Remove it.
    Delete,
}

impl VolumeVerb {
    /// Every verb there is.
    pub const ALL: [VolumeVerb; 8] = [
        VolumeVerb::Grow,
        VolumeVerb::Flatten,
        VolumeVerb::Clone,
        VolumeVerb::Snapshot,
        VolumeVerb::Revert,
        VolumeVerb::Attach,
        VolumeVerb::Detach,
        VolumeVerb::Delete,
    ];

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            VolumeVerb::Grow => "grow",
            VolumeVerb::Flatten => "flatten",
            VolumeVerb::Clone => "clone",
            VolumeVerb::Snapshot => "snapshot",
            VolumeVerb::Revert => "revert",
            VolumeVerb::Attach => "attach",
            VolumeVerb::Detach => "detach",
            VolumeVerb::Delete => "delete",
        }
    }
}

/// All that the rule looks at.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Name of the volume, for sentences.
    pub name: String,
    /// Where it stands.
    pub phase: VolumePhase,
    /// A task is at work on it.
    pub busy: bool,
    /// The VM that has it, and how that is.
    pub vm: Option<(String, PowerState)>,
    /// Name of its pool.
    pub pool: String,
    /// The pool works on some host.
    pub pool_usable: bool,
    /// What the pool can do; nothing when no host says.
    pub can: Capabilities,
    /// What it is linked to, for sentences: `volume web` or `image debian-12`.
    pub linked_to: Option<String>,
    /// Names of linked clones.
    pub clones: Vec<String>,
    /// One of those that reads the volume itself, not a snapshot of it: it must not be written any more.
    pub frozen_by: Option<String>,
}

type Refusal = (FaultCode, String, String);

fn refusal(code: FaultCode, reason: impl Into<String>, remedy: impl Into<String>) -> Option<Refusal> {
    Some((code, reason.into(), remedy.into()))
}

impl Standing {
    /// One line per verb.
    pub fn actions(&self) -> Vec<AllowedAction> {
        let line = |verb: VolumeVerb| AllowedAction {
            verb: verb.as_str().to_owned(),
            reason_if_not: self.why_not(verb).map(|(_, reason, _)| reason),
        };
        VolumeVerb::ALL.map(line).to_vec()
    }

    /// Refuses what is not allowed now, with the reason that is shown beside the button.
    pub fn check(&self, verb: VolumeVerb) -> Result<(), Fault> {
        match self.why_not(verb) {
            None => Ok(()),
            Some((code, reason, remedy)) => {
                let message =
                    format!("Volume {} cannot do that now ({}): {reason}", self.name, verb.as_str());
                Err(Fault::new(code, message, remedy))
            }
        }
    }

    fn why_not(&self, verb: VolumeVerb) -> Option<Refusal> {
        self.blocked(verb).or_else(|| match verb {
            VolumeVerb::Grow => self.why_not_grow(),
            VolumeVerb::Flatten => self.why_not_flatten(),
            VolumeVerb::Clone => self.why_not_clone(),
            VolumeVerb::Snapshot => self.why_not_snapshot(),
            VolumeVerb::Revert => self.why_not_revert(),
            VolumeVerb::Attach => match &self.vm {
                Some((vm, _)) => refusal(
                    FaultCode::VolumeInUse,
                    format!("VM {vm} has it."),
                    format!("Detach it from VM {vm} first."),
                ),
                None => self.frozen(),
            },
            VolumeVerb::Detach => match &self.vm {
                None => refusal(FaultCode::Conflict, "No VM has it.", "Nothing needs to be done."),
                Some((vm, PowerState::Unknown)) => unknown(vm),
                Some(_) => None,
            },
            VolumeVerb::Delete => self.why_not_delete(),
        })
    }

    /// What stands in the way of everything.
    fn blocked(&self, verb: VolumeVerb) -> Option<Refusal> {
        match self.phase {
            _ if self.busy => {
                refusal(FaultCode::Busy, "Another task is at work on it.", "Wait for that task's end.")
            }
            VolumePhase::Creating => refusal(
                FaultCode::Busy,
                "It is still being created.",
                "Wait for its task's end, or cancel it.",
            ),
            VolumePhase::Deleting if verb != VolumeVerb::Delete => {
                refusal(FaultCode::Conflict, "It is being deleted.", "Choose another volume.")
            }
            VolumePhase::Error if !matches!(verb, VolumeVerb::Delete | VolumeVerb::Detach) => refusal(
                FaultCode::VolumeMissing,
                "It is not usable.",
                "See why on its page; delete it there.",
            ),
            _ if !self.pool_usable && verb != VolumeVerb::Delete => refusal(
                FaultCode::PoolNotReady,
                format!("Pool {} is not ready.", self.pool),
                "Wait until it is, or look at the pool's page.",
            ),
            VolumePhase::Ready | VolumePhase::Error | VolumePhase::Deleting => None,
        }
    }

    fn frozen(&self) -> Option<Refusal> {
        let clone = self.frozen_by.as_ref()?;
        refusal(
            FaultCode::VolumeHasClones,
            format!("Its linked clone {clone} needs it as it is."),
            format!(
                "Make volume {clone} independent (flatten it) or delete it first, or work with a full clone."
            ),
        )
    }

    fn cannot(&self, what: &str) -> Option<Refusal> {
        refusal(
            FaultCode::PoolCannot,
            format!("Pool {} cannot {what}.", self.pool),
            "Use a pool that can; each pool's page lists what it can do.",
        )
    }

    /// While a VM runs on it, `able` decides; a VM nobody knows of counts as running and as off at once.
    fn while_running(&self, able: bool, what: &str) -> Option<Refusal> {
        match &self.vm {
            Some((vm, PowerState::Unknown)) => unknown(vm),
            Some((vm, state)) if state.is_active() && !able => refusal(
                FaultCode::VolumeInUse,
                format!(
                    "VM {vm} is {}, and pool {} can {what} only while it is off.",
                    state.as_str(),
                    self.pool
                ),
                format!("Shut down VM {vm} first."),
            ),
            Some(_) | None => None,
        }
    }

    fn why_not_grow(&self) -> Option<Refusal> {
        if !self.can.grow && !self.can.grow_running {
            return self.cannot("grow volumes");
        }
        self.frozen().or_else(|| self.while_running(self.can.grow_running, "grow it"))
    }

    fn why_not_flatten(&self) -> Option<Refusal> {
        if self.linked_to.is_none() {
            let reason = "It stands alone: it is linked to nothing.";
            return refusal(FaultCode::Conflict, reason, "Nothing needs to be done.");
        }
        if !self.can.flatten {
            return self.cannot("make linked clones independent");
        }
        self.while_running(false, "make it independent")
    }

    fn why_not_clone(&self) -> Option<Refusal> {
        // Of a running VM's disk, a snapshot can be cloned.
        self.while_running(self.can.snapshots, "clone it")
    }

    fn why_not_snapshot(&self) -> Option<Refusal> {
        if !self.can.snapshots && !self.can.snapshots_running {
            return self.cannot("snapshot volumes");
        }
        self.while_running(self.can.snapshots_running, "snapshot it")
    }

    fn why_not_revert(&self) -> Option<Refusal> {
        if !self.can.snapshots && !self.can.snapshots_running {
            return self.cannot("snapshot volumes");
        }
        self.frozen().or_else(|| self.while_running(false, "revert it"))
    }

    fn why_not_delete(&self) -> Option<Refusal> {
        if let Some((vm, _)) = &self.vm {
            let remedy = format!("Detach it from VM {vm} first.");
            return refusal(FaultCode::VolumeInUse, format!("VM {vm} has it."), remedy);
        }
        let reason = match self.clones.as_slice() {
            [] => return None,
            [clone] => format!("Its linked clone {clone} needs it."),
            clones => format!("Its linked clones {} need it.", clones.join(", ")),
        };
        let remedy = "Make them independent of it (flatten them), or delete them first.";
        refusal(FaultCode::VolumeHasClones, reason, remedy)
    }
}

fn unknown(vm: &str) -> Option<Refusal> {
    refusal(
        FaultCode::VmActionNotAllowed,
        format!("The host of VM {vm} does not say what state it is in."),
        "Wait until its host reports again, or look after that host.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> Standing {
        Standing {
            name: "v".into(),
            phase: VolumePhase::Ready,
            busy: false,
            vm: None,
            pool: "p".into(),
            pool_usable: true,
            can: Capabilities {
                snapshots: true,
                snapshots_running: true,
                clones: true,
                flatten: true,
                grow: true,
                grow_running: true,
                ..Capabilities::default()
            },
            linked_to: None,
            clones: Vec::new(),
            frozen_by: None,
        }
    }

    fn linked() -> Standing {
        Standing { linked_to: Some("volume base".into()), ..able() }
    }

    fn allowed(standing: &Standing) -> Vec<String> {
        let actions = standing.actions().into_iter();
        actions.filter(|a| a.reason_if_not.is_none()).map(|a| a.verb).collect()
    }

    fn of_vm(state: PowerState) -> Standing {
        Standing { vm: Some(("web".into(), state)), ..able() }
    }

    #[test]
    fn what_is_offered() {
        for (standing, wanted) in [
            (able(), "grow clone snapshot revert attach delete"),
            (linked(), "grow flatten clone snapshot revert attach delete"),
            (Standing { vm: of_vm(PowerState::Running).vm, ..linked() }, "grow clone snapshot detach"),
            (Standing { can: Capabilities::default(), ..linked() }, "clone attach delete"),
            (of_vm(PowerState::Off), "grow clone snapshot revert detach"),
            (of_vm(PowerState::Running), "grow clone snapshot detach"),
            (of_vm(PowerState::Unknown), ""),
            (Standing { busy: true, ..able() }, ""),
            (Standing { phase: VolumePhase::Creating, ..able() }, ""),
            (Standing { phase: VolumePhase::Error, ..able() }, "delete"),
            (Standing { phase: VolumePhase::Error, ..of_vm(PowerState::Off) }, "detach"),
            (Standing { pool_usable: false, ..able() }, "delete"),
            (Standing { can: Capabilities::default(), ..able() }, "clone attach delete"),
            (Standing { can: Capabilities::default(), ..of_vm(PowerState::Running) }, "detach"),
            (Standing { clones: vec!["c".into()], ..able() }, "grow clone snapshot revert attach"),
            (Standing { clones: vec!["c".into()], frozen_by: Some("c".into()), ..able() }, "clone snapshot"),
        ] {
            assert_eq!(allowed(&standing).join(" "), wanted, "{standing:?}");
        }
    }

    #[test]
    fn every_refusal_says_why_and_what_helps() {
        let states = [PowerState::Off, PowerState::Running, PowerState::Unknown, PowerState::Paused];
        let worlds = states.map(of_vm).into_iter().chain([able()]).flat_map(|s| {
            let poor = Standing { can: Capabilities::default(), ..s.clone() };
            let cloned = Standing { clones: vec!["c".into()], frozen_by: Some("c".into()), ..s.clone() };
            [s, poor, cloned]
        });
        for standing in worlds {
            for verb in VolumeVerb::ALL {
                let shown = standing.actions().into_iter().find(|a| a.verb == verb.as_str());
                let shown = shown.and_then(|a| a.reason_if_not);
                match standing.check(verb) {
                    Ok(()) => assert_eq!(shown, None),
                    Err(fault) => {
                        assert!(fault.message.ends_with(&shown.expect("the same reason")), "{fault}");
                        assert!(!fault.remedy.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn a_user_is_named() {
        for verb in [VolumeVerb::Delete, VolumeVerb::Attach, VolumeVerb::Revert] {
            let fault = of_vm(PowerState::Running).check(verb).expect_err("in use");
            assert_eq!(fault.code, FaultCode::VolumeInUse);
            assert!(fault.message.contains("web"), "{fault}");
        }
    }
}
