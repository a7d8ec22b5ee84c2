//! What waits for one VM, and what happens to each wish: pure, so that it can be tested without a hypervisor.
//!
//! ```text
//!   ask ──admit──▶ waiting (at most 8) ──take──▶ decide(facts as they are now) ──▶ Go | Already | Refuse
//!           │                │
//!           └─ Refuse        └─ a waiting or running Delete lets nothing but another Delete in
//! ```
//! Admission looks at what waits; the decision looks at the machine as the hypervisor shows it at that moment.

use quantix_model::vm::{PowerState, PowerStep, PowerVerb, power_step};
use quantix_model::{Fault, FaultCode};
use std::collections::VecDeque;

/// Wishes that may wait for one VM.
pub const WAITING_MAX: usize = 8;

/// A wish, as far as deciding needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Make or replace the definition.
    Apply {
        /// Of the intent.
        generation: u64,
    },
    /// Change power.
    Power {
        /// Which way.
        verb: PowerVerb,
        /// Of the intent.
        generation: u64,
    },
    /// Remove the definition.
    Delete {
        /// Of the intent.
        generation: u64,
    },
    /// Do something with its volumes that must not meet a start or a stop. Changes no intent.
    Tend,
}

impl Ask {
    /// Of the intent; work without one is never too old.
    fn generation(self) -> u64 {
        match self {
            Ask::Tend => u64::MAX,
            Ask::Apply { generation } | Ask::Power { generation, .. } | Ask::Delete { generation } => {
                generation
            }
        }
    }

    fn is_delete(self) -> bool {
        matches!(self, Ask::Delete { .. })
    }
}

/// A machine as the hypervisor shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defined {
    /// From its metadata; `None` when Quantix did not make it.
    pub generation: Option<u64>,
    /// Now.
    pub state: PowerState,
}

/// What is known when a wish's turn comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `None`: the hypervisor has no such machine.
    pub defined: Option<Defined>,
    /// Generation of an earlier machine of this id that was deleted.
    pub deleted: Option<u64>,
}

/// What becomes of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Go,
    /// It is so already: answer well, do nothing.
    Already,
    /// Cannot be; says why.
    Refuse(Box<Fault>),
}

/// Decides a wish whose turn has come.
pub fn decide(ask: Ask, facts: Facts) -> Verdict {
    let newest = facts.defined.and_then(|d| d.generation).max(facts.deleted);
    if let Some(newest) = newest.filter(|newest| ask.generation() < *newest) {
        return refuse(stale(ask.generation(), newest));
    }
    match (ask, facts.defined) {
        (_, Some(Defined { generation: None, .. })) => refuse(foreign()),
        (Ask::Tend, _) => Verdict::Go,
        (Ask::Apply { .. }, None) => Verdict::Go,
        (Ask::Apply { generation }, Some(defined)) if defined.generation == Some(generation) => {
            Verdict::Already
        }
        (Ask::Apply { .. }, Some(_)) => Verdict::Go,
        (Ask::Delete { .. }, None) => Verdict::Already,
        (Ask::Delete { .. }, Some(defined)) => decide_delete(defined.state),
        (Ask::Power { .. }, None) => refuse(missing()),
        (Ask::Power { verb, .. }, Some(defined)) => match power_step(defined.state, verb) {
            PowerStep::Go => Verdict::Go,
            PowerStep::Already => Verdict::Already,
            PowerStep::Refuse(why) => refuse(not_allowed(verb.as_str(), why)),
        },
    }
}

fn refuse(fault: Fault) -> Verdict {
    Verdict::Refuse(Box::new(fault))
}

fn decide_delete(state: PowerState) -> Verdict {
    match state {
        PowerState::Off | PowerState::Crashed => Verdict::Go,
        PowerState::Running | PowerState::Paused | PowerState::ShuttingDown => {
            refuse(not_allowed("delete", "It is running: stop it first."))
        }
        PowerState::Unknown => {
            refuse(not_allowed("delete", "The hypervisor does not say what state it is in."))
        }
    }
}

/// The waiting line of one VM. `T` is what carries the answer back.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<(Ask, T)>,
    running: Option<Ask>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { waiting: VecDeque::new(), running: None }
    }
}

impl<T> Queue<T> {
    /// Lets a wish in, or says why not; a refused one comes back with the reason.
    pub fn admit(&mut self, ask: Ask, carrier: T) -> Result<(), (T, Fault)> {
        let ahead = || self.running.iter().chain(self.waiting.iter().map(|(a, _)| a));
        if !ask.is_delete() && ahead().any(|a| a.is_delete()) {
            return Err((carrier, leaving()));
        }
        let newest = ahead().filter(|a| matches!(a, Ask::Apply { .. })).map(|a| a.generation()).max();
        if let Some(newest) = newest.filter(|newest| ask.generation() < *newest) {
            return Err((carrier, stale(ask.generation(), newest)));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err((carrier, busy()));
        }
        self.waiting.push_back((ask, carrier));
        Ok(())
    }

    /// The next wish, now running; none while one runs.
    pub fn take(&mut self) -> Option<(Ask, T)> {
        if self.running.is_some() {
            return None;
        }
        let (ask, carrier) = self.waiting.pop_front()?;
        self.running = Some(ask);
        Some((ask, carrier))
    }

    /// The running wish has ended.
    pub fn done(&mut self) {
        self.running = None;
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_none()
    }
}

fn stale(asked: u64, newest: u64) -> Fault {
    Fault::new(
        FaultCode::StaleGeneration,
        "This was asked for an older state of the VM.",
        "Look at the VM again, then repeat it if it is still wanted.",
    )
    .because(format!("asked for generation {asked}, the host has {newest}"))
}

fn foreign() -> Fault {
    Fault::new(
        FaultCode::Conflict,
        "The hypervisor has a machine of this id that Quantix did not make.",
        "Rename or remove that machine on the host, or create the VM again so that it gets another id.",
    )
}

fn missing() -> Fault {
    Fault::new(
        FaultCode::VmMissingOnHost,
        "The host does not have this VM.",
        "It may have been removed on the host itself. Delete it here and create it again from its volumes.",
    )
}

fn not_allowed(what: &str, why: &str) -> Fault {
    let what = what.replace('_', " ");
    Fault::new(FaultCode::VmActionNotAllowed, format!("The VM cannot do that now ({what}). {why}"), why)
}

fn leaving() -> Fault {
    Fault::new(FaultCode::Conflict, "The VM is being deleted.", "Wait for the deletion to end.")
}

fn busy() -> Fault {
    Fault::new(
        FaultCode::Busy,
        format!("{WAITING_MAX} requests wait for this VM already."),
        "Wait for them to end, then try again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state() -> impl Strategy<Value = PowerState> {
        use PowerState::*;
        prop_oneof![Just(Unknown), Just(Off), Just(Running), Just(Paused), Just(ShuttingDown), Just(Crashed)]
    }

    fn ask() -> impl Strategy<Value = Ask> {
        prop_oneof![
            (0u64..6).prop_map(|generation| Ask::Apply { generation }),
            (0usize..7, 0u64..6)
                .prop_map(|(v, generation)| Ask::Power { verb: PowerVerb::ALL[v], generation }),
            (0u64..6).prop_map(|generation| Ask::Delete { generation }),
            Just(Ask::Tend),
        ]
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let defined = (prop::option::of(0u64..6), state())
            .prop_map(|(generation, state)| Defined { generation, state });
        (prop::option::of(defined), prop::option::of(0u64..6))
            .prop_map(|(defined, deleted)| Facts { defined, deleted })
    }

    proptest! {
        #[test]
        fn nothing_older_is_ever_done(ask in ask(), facts in facts()) {
            let newest = facts.defined.and_then(|d| d.generation).max(facts.deleted).unwrap_or(0);
            if ask.generation() < newest {
                prop_assert!(matches!(decide(ask, facts), Verdict::Refuse(_)));
            }
        }

        #[test]
        fn strangers_are_never_touched(ask in ask(), state in state()) {
            let facts = Facts { defined: Some(Defined { generation: None, state }), deleted: None };
            prop_assert!(matches!(decide(ask, facts), Verdict::Refuse(_)));
        }

        #[test]
        fn a_machine_that_may_run_is_never_deleted(generation in 0u64..6, facts in facts()) {
            if decide(Ask::Delete { generation }, facts) == Verdict::Go {
                let state = facts.defined.map(|d| d.state);
                prop_assert!(matches!(state, Some(PowerState::Off | PowerState::Crashed)));
            }
        }

        #[test]
        fn power_follows_the_one_table(v in 0usize..7, state in state()) {
            let verb = PowerVerb::ALL[v];
            let facts = Facts { defined: Some(Defined { generation: Some(1), state }), deleted: None };
            let verdict = decide(Ask::Power { verb, generation: 1 }, facts);
            match power_step(state, verb) {
                PowerStep::Go => prop_assert_eq!(verdict, Verdict::Go),
                PowerStep::Already => prop_assert_eq!(verdict, Verdict::Already),
                PowerStep::Refuse(_) => prop_assert!(matches!(verdict, Verdict::Refuse(_))),
            }
        }

        #[test]
        fn doing_it_twice_changes_nothing_more(generation in 0u64..6, facts in facts()) {
            if decide(Ask::Apply { generation }, facts) == Verdict::Go {
                let defined = Defined { generation: Some(generation), state: PowerState::Off };
                let after = Facts { defined: Some(defined), ..facts };
                prop_assert_eq!(decide(Ask::Apply { generation }, after), Verdict::Already);
            }
            if decide(Ask::Delete { generation }, facts) == Verdict::Go {
                let after = Facts { defined: None, deleted: Some(generation) };
                prop_assert_eq!(decide(Ask::Delete { generation }, after), Verdict::Already);
            }
        }

        /// Whatever comes in any order: the line is bounded, one runs at a time, in order of arrival, and nothing
        /// but deletes follows a delete.
        #[test]
        fn the_line_keeps_its_promises(steps in prop::collection::vec(prop::option::of(ask()), 0..60)) {
            let mut queue: Queue<usize> = Queue::default();
            let mut inside: Vec<Ask> = Vec::new();
            let (mut last, mut running) = (None, false);
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Some(ask) => match queue.admit(ask, n) {
                        Ok(()) => {
                            prop_assert!(ask.is_delete() || !inside.iter().any(|a| a.is_delete()));
                            inside.push(ask);
                        }
                        Err((carrier, fault)) => {
                            prop_assert_eq!(carrier, n);
                            prop_assert!(!fault.remedy.is_empty());
                        }
                    },
                    None if running => {
                        prop_assert!(queue.take().is_none());
                        queue.done();
                        inside.remove(0);
                        running = false;
                    }
                    None => {
                        if let Some((ask, carrier)) = queue.take() {
                            prop_assert_eq!(ask, inside[0]);
                            prop_assert!(last.is_none_or(|l| l < carrier));
                            last = Some(carrier);
                            running = true;
                        }
                    }
                }
                prop_assert!(inside.len() <= WAITING_MAX + 1);
                prop_assert_eq!(queue.is_idle(), inside.is_empty());
            }
        }
    }
}
