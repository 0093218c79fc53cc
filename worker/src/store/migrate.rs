//! The schema: `schemas/sql/*.sql` in order, each applied once, by one process at a time.

use sqlx::{
    SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{Store, StoreError, WRITE_TIMEOUT, sort};

/// Every migration, in order; what was released is never edited.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "knowledge", include_str!("../../../schemas/sql/001_knowledge.sql")),
    (2, "archive", include_str!("../../../schemas/sql/002_archive.sql")),
    (3, "records_as_bytes", include_str!("../../../schemas/sql/003_records_as_bytes.sql")),
    (4, "forgetting", include_str!("../../../schemas/sql/004_forgetting.sql")),
];

impl Store {
    /// Brings the schema up to date; processes that call this at once wait for one another.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match tokio::time::timeout(WRITE_TIMEOUT, migrator().run(&self.pool)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(MigrateError::Execute(error))) => Err(sort(&error)),
            Ok(Err(error)) => Err(StoreError::Broken(error.to_string())),
            Err(_) => Err(StoreError::Away("another process holds the migration lock, or the database hangs".into())),
        }
    }
}

fn migrator() -> Migrator {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect());
    // While a fleet is being updated, yesterday's workers meet tomorrow's schema.
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_list_under_its_number() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/sql");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<_> = MIGRATIONS.iter().map(|(version, name, _)| format!("{version:03}_{name}.sql")).collect();
        assert_eq!(files, listed);
    }
}
