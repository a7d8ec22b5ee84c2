//! What the store may answer instead of doing it. Conflicts are values here, never strings to be parsed.

use quantix_model::fault::{Fault, FaultCode};
use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// Why the store did not do it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such row.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// Noun.
        kind: &'static str,
        /// As asked for.
        id: String,
    },
    /// Another row has this name or identity already.
    #[error("{kind} {value} exists already ({field})")]
    Taken {
        /// Noun.
        kind: &'static str,
        /// `name`, or the other field that must be unique.
        field: &'static str,
        /// The value wanted.
        value: String,
    },
    /// Somebody else changed it in between.
    #[error("{kind} {id} was changed in between: {why}")]
    Conflict {
        /// Noun.
        kind: &'static str,
        /// Which.
        id: String,
        /// What stands there now.
        why: String,
    },
    /// Something else hangs on it.
    #[error("{kind} {id} is used by {by}")]
    InUse {
        /// Noun.
        kind: &'static str,
        /// Which.
        id: String,
        /// Kind and name of what uses it.
        by: String,
    },
    /// A page token that this store did not make, or made for another order.
    #[error("the page token is not one of ours")]
    BadPageToken,
    /// A list that cannot be ordered so.
    #[error("a list of {kind}s cannot be ordered so")]
    CannotOrder {
        /// Noun.
        kind: &'static str,
    },
    /// No room for what was to be written; what is there can be read. The text is the engine's own.
    #[error("the store is full: {0}")]
    Full(String),
    /// Locked, gone or not reachable. The text is the engine's own.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The engine refused a statement of ours: a mistake, not a state.
    #[error("the store refused a statement: {0}")]
    Refused(String),
    /// A row does not read as what it should be.
    #[error("a row of {table} cannot be read: {why}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Column and reason.
        why: String,
    },
}

impl StoreError {
    /// A row that cannot be read.
    pub(crate) fn corrupt(table: &'static str, why: impl std::fmt::Display) -> StoreError {
        StoreError::Corrupt { table, why: why.to_string() }
    }

    /// Whether it may pass by itself: the same again may go well with nothing changed.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Full(_) | StoreError::Unavailable(_))
    }
}

impl From<DbErr> for StoreError {
    fn from(err: DbErr) -> StoreError {
        if is_full(&err) {
            StoreError::Full(err.to_string())
        } else if is_mistake(&err) {
            StoreError::Refused(err.to_string())
        } else {
            StoreError::Unavailable(err.to_string())
        }
    }
}

/// The engine's own code, if it answered at all.
fn code_of(err: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(inner)) | DbErr::Query(RuntimeErr::SqlxError(inner))) = err else {
        return None;
    };
    let sqlx::Error::Database(refusal) = inner.as_ref() else { return None };
    refusal.code().map(|code| code.into_owned())
}

/// SQLite's FULL, PostgreSQL's `disk_full`.
fn is_full(err: &DbErr) -> bool {
    code_of(err).is_some_and(|code| {
        code == "53100" || code.len() != 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == 13)
    })
}

/// Whether the engine answered, and refused what it was told; anything else may pass by itself.
fn is_mistake(err: &DbErr) -> bool {
    let Some(code) = code_of(err) else {
        return matches!(err, DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } | DbErr::Custom(_));
    };
    match code.parse::<u32>() {
        // PostgreSQL: syntax, data and integrity (classes 22, 23, 42).
        _ if code.len() == 5 => ["22", "23", "42"].iter().any(|class| code.starts_with(class)),
        // SQLite: primary codes ERROR, CONSTRAINT, MISMATCH, MISUSE, RANGE.
        Ok(extended) => matches!(extended & 0xff, 1 | 19 | 20 | 21 | 25),
        Err(_) => false,
    }
}

/// A failed write of `kind` `id`, whose name is `name`.
pub(crate) fn write_error(kind: &'static str, id: &str, name: &str, err: DbErr) -> StoreError {
    match err.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(text)) => {
            // Both engines name the column or the index, and our indexes are named after their columns.
            let (field, value) = if text.contains("key_sha256") {
                ("key", name)
            } else if text.contains("name_key") {
                ("name", name)
            } else {
                ("id", id)
            };
            StoreError::Taken { kind, field, value: value.to_owned() }
        }
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => StoreError::Conflict {
            kind,
            id: id.to_owned(),
            why: "something it refers to is gone, or still refers to it".into(),
        },
        _ => match err {
            DbErr::RecordNotUpdated => StoreError::NotFound { kind, id: id.to_owned() },
            other => StoreError::from(other),
        },
    }
}

/// As people get to see it.
impl From<StoreError> for Fault {
    fn from(err: StoreError) -> Fault {
        match err {
            StoreError::NotFound { kind, id } => Fault::not_found(kind, id),
            StoreError::Taken { kind, field: "name", value } => Fault {
                field: "name".into(),
                ..Fault::new(
                    FaultCode::NameTaken,
                    format!("There is a {kind} named {value} already."),
                    "Choose another name.",
                )
            },
            StoreError::Taken { kind: "host", field: "key", value } => Fault::new(
                FaultCode::HostAlreadyExists,
                format!("This machine is registered already; {value} cannot be a second name for it."),
                "Remove the host first if you want to register it anew.",
            ),
            StoreError::Taken { kind, value, .. } => Fault::new(
                FaultCode::Conflict,
                format!("There is a {kind} {value} already."),
                "Look at the list again.",
            ),
            StoreError::Conflict { kind, id, why } => Fault::new(
                FaultCode::Conflict,
                format!("The {kind} {id} was changed in between."),
                "Look at it again and repeat what you want to do.",
            )
            .because(why),
            StoreError::InUse { kind: "volume", by, .. } if by.starts_with("its clone") => Fault::new(
                FaultCode::VolumeHasClones,
                format!("The volume is needed by {by}."),
                "Delete the clone first.",
            ),
            StoreError::InUse { kind, by, .. } => {
                let code = match kind {
                    "host" => FaultCode::HostInUse,
                    "pool" => FaultCode::PoolInUse,
                    "image" => FaultCode::ImageInUse,
                    "volume" => FaultCode::VolumeInUse,
                    _ => FaultCode::Conflict,
                };
                Fault::new(code, format!("The {kind} is used by {by}."), format!("Remove or detach {by} first."))
            }
            StoreError::BadPageToken => Fault::invalid(
                "page_token",
                "The page token is not one that was handed out.",
                "Start again at the first page, with an empty token.",
            ),
            StoreError::CannotOrder { kind } => Fault::invalid(
                "order.by",
                format!("A list of {kind}s cannot be ordered so."),
                "Choose one of the orders the contract names for this list.",
            ),
            StoreError::Full(text) => Fault::new(
                FaultCode::StoreFull,
                "The disk with the vDC's database is full, so nothing was changed. What is there can be looked at.",
                "Free space on the disk of the vDC's data folder, or of its database server. Nothing needs a restart.",
            )
            .because(text),
            StoreError::Unavailable(text) => Fault::new(
                FaultCode::StoreUnavailable,
                "The vDC's database does not answer, so nothing was changed.",
                "Check free space and permissions of the data folder, or the database server; then try again.",
            )
            .because(text),
            StoreError::Corrupt { .. } | StoreError::Refused(_) => Fault::internal(err),
        }
    }
}
