//! The schema: `schemas/sql/*.sql` in order, each applied once, by one process at a time.

use sqlx::{
    SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{READ_TIMEOUT, Store, StoreError, WRITE_TIMEOUT, sort, within};

/// Every migration, in order; what was released is never edited.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "knowledge", include_str!("../../../schemas/sql/001_knowledge.sql")),
    (2, "archive", include_str!("../../../schemas/sql/002_archive.sql")),
    (3, "records_as_bytes", include_str!("../../../schemas/sql/003_records_as_bytes.sql")),
    (4, "forgetting", include_str!("../../../schemas/sql/004_forgetting.sql")),
    (5, "promotions", include_str!("../../../schemas/sql/005_promotions.sql")),
];

/// What each role of the database may do, for those roles that there are.
const GRANTS: &str = include_str!("../../../schemas/roles/grants.sql");

impl Store {
    /// Brings the schema up to date where that is this process's business; else says whether it is.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.migrates { self.migrate().await } else { self.is_current().await }
    }

    async fn is_current(&self) -> Result<(), StoreError> {
        const SQL: &str = "select version from _sqlx_migrations where success";
        let query = sqlx::query_scalar(SQL).fetch_all(&self.pool);
        let made: Vec<i64> = match within(READ_TIMEOUT, query).await {
            Err(StoreError::Broken(why)) => return Err(StoreError::Behind(why)),
            made => made?,
        };
        match MIGRATIONS.iter().find(|(version, ..)| !made.contains(version)) {
            Some((version, name, _)) => Err(StoreError::Behind(format!("it lacks {version:03}_{name}"))),
            None => Ok(()),
        }
    }

    /// Lets the database's roles do what they are for, and no more.
    pub async fn grant(&self) -> Result<(), StoreError> {
        within(WRITE_TIMEOUT, sqlx::raw_sql(GRANTS).execute(&self.pool)).await.map(drop)
    }

    /// Brings the schema up to date; processes that call this at once wait for one another.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // Whoever may not make tables need not, once they are there.
        if self.is_current().await.is_ok() {
            return Ok(());
        }
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
