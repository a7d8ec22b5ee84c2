//! How the tables came to be. One set for both engines; a step once released is never edited.

mod m2026_11_alerts;
mod m2026_11_events;
mod m2026_11_first;
mod m2026_11_identity;
mod m2026_11_join;
mod m2026_11_lists;
mod m2026_11_people;
mod m2026_11_prepared;
mod m2026_11_releases;
mod m2026_11_rights;
mod m2026_11_storage;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All steps, oldest first.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m2026_11_first::Migration),
            Box::new(m2026_11_storage::Migration),
            Box::new(m2026_11_lists::Migration),
            Box::new(m2026_11_events::Migration),
            Box::new(m2026_11_prepared::Migration),
            Box::new(m2026_11_releases::Migration),
            Box::new(m2026_11_rights::Migration),
            Box::new(m2026_11_join::Migration),
            Box::new(m2026_11_people::Migration),
            Box::new(m2026_11_alerts::Migration),
            Box::new(m2026_11_identity::Migration),
        ]
    }
}
