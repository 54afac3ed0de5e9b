//! What Laravel's grammars print, and what people write by hand, in the three dialects.

use super::*;
use crate::model::Statement;

fn migration(name: &str, driver: Driver, statements: &[&str]) -> Migration {
    let statement = |sql: &&str| Statement { driver, sql: (*sql).into() };
    Migration { name: name.into(), statements: statements.iter().map(statement).collect(), unknown: None }
}

fn dangers(driver: Driver, statements: &[&str]) -> Vec<Danger> {
    harms(&[migration("m", driver, statements)]).into_iter().map(|harm| harm.danger).collect()
}

#[track_caller]
fn safe(driver: Driver, statements: &[&str]) {
    assert_eq!(dangers(driver, statements), [], "{statements:?}");
}

#[track_caller]
fn each(driver: Driver, expected: Danger, statements: &[&str]) {
    for statement in statements {
        assert_eq!(dangers(driver, &[statement]), [expected], "{statement}");
    }
}

use Danger::*;
use Driver::{Mysql, Pgsql, Sqlite};

#[test]
fn what_only_adds_is_safe() {
    safe(
        Mysql,
        &[
            "create table `notes` (`id` bigint unsigned not null auto_increment primary key, `text` varchar(255) not null) default character set utf8mb4 collate 'utf8mb4_unicode_ci'",
            "alter table `notes` add unique `notes_text_unique`(`text`)",
            "alter table `notes` add constraint `notes_user_id_foreign` foreign key (`user_id`) references `users` (`id`) on delete cascade",
            "alter table `notes` drop `text`",
        ],
    );
    safe(
        Mysql,
        &["alter table `users` add `colour` varchar(255) not null default 'red', add `size` int null after `colour`"],
    );
    safe(Mysql, &["alter table `users` add `at` timestamp not null default CURRENT_TIMESTAMP"]);
    safe(Mysql, &["alter table `users` add `total` int as (price * 2) not null"]);
    safe(Mysql, &["alter table `users` add index `users_name_index`(`name`)", "create index `x` on `users` (`name`)"]);
    safe(Mysql, &["insert into `roles` (`name`) values (?)", "update `users` set `role` = ? where `role` is null"]);
    safe(Mysql, &["SET FOREIGN_KEY_CHECKS=0;", "set foreign_key_checks=1", "alter table `users` comment = 'people'"]);
    safe(Mysql, &["alter table `users` auto_increment = 1000", "alter table `users` rename index `a` to `b`"]);
    safe(Pgsql, &["alter table \"users\" add column \"colour\" varchar(255) null"]);
    safe(
        Pgsql,
        &["alter table \"users\" add column \"no\" bigserial not null, add column \"b\" bool not null default '0'"],
    );
    safe(
        Pgsql,
        &[
            "create index concurrently \"i\" on \"users\" (\"name\")",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON public.users USING gin (name)",
        ],
    );
    safe(
        Pgsql,
        &["comment on column \"users\".\"x\" is 'drop table users'", "create extension if not exists \"uuid-ossp\""],
    );
    safe(Pgsql, &["alter table \"users\" alter column \"name\" drop not null, alter column \"name\" set default 'x'"]);
    safe(
        Pgsql,
        &["alter table \"users\" drop constraint \"users_team_id_foreign\"", "drop index \"users_name_index\""],
    );
    safe(Pgsql, &["create type mood as enum ('sad', 'ok'); create view v as select * from users"]);
    safe(
        Sqlite,
        &[
            "create table \"notes\" (\"id\" integer not null primary key autoincrement, \"text\" varchar not null)",
            "create unique index \"notes_text_unique\" on \"notes\" (\"text\")",
        ],
    );
    safe(
        Sqlite,
        &["alter table \"notes\" add column \"colour\" varchar not null default 'red'", "PRAGMA foreign_keys = OFF"],
    );
    safe(Sqlite, &["create index \"notes_text_index\" on \"notes\" (\"text\")"]);
}

#[test]
fn what_old_code_asks_for_may_not_go() {
    each(
        Mysql,
        DropTable,
        &[
            "drop table `notes`",
            "drop table if exists `notes`",
            "drop view `v`",
            "DROP TRIGGER t",
            "drop table `a`, `b`",
        ],
    );
    each(
        Mysql,
        DropColumn,
        &[
            "alter table `notes` drop `text`",
            "ALTER TABLE notes DROP COLUMN text",
            "alter table `notes` drop column if exists `x`",
        ],
    );
    each(
        Pgsql,
        DropColumn,
        &["alter table \"notes\" drop column \"text\"", "alter table only public.notes drop column text cascade"],
    );
    each(Sqlite, DropColumn, &["alter table \"notes\" drop column \"text\"", "alter table notes drop column text;"]);
    assert_eq!(dangers(Mysql, &["alter table `notes` drop `a`, drop `b`"]), [DropColumn, DropColumn]);
    each(
        Mysql,
        DropRows,
        &[
            "delete from `notes` where `x` = ?",
            "truncate table `notes`",
            "truncate `notes`",
            "alter table t drop partition p0",
        ],
    );
    each(
        Pgsql,
        DropKey,
        &["alter table \"users\" drop constraint \"users_email_unique\"", "drop index \"users_email_unique\""],
    );
    each(
        Mysql,
        DropKey,
        &["alter table `users` drop primary key", "alter table `users` drop index `users_email_unique`"],
    );
}

#[test]
fn what_old_code_knows_by_name_keeps_it() {
    each(Mysql, RenameTable, &["rename table `a` to `b`", "alter table `a` rename to `b`"]);
    each(Pgsql, RenameTable, &["alter table \"a\" rename to \"b\""]);
    each(Mysql, RenameColumn, &["alter table `a` rename column `x` to `y`"]);
    each(Sqlite, RenameColumn, &["alter table \"a\" rename column \"x\" to \"y\""]);
}

#[test]
fn types_do_not_change_under_it() {
    each(
        Mysql,
        ChangeType,
        &[
            "alter table `a` modify `x` bigint not null",
            "alter table `a` change `x` `y` int null",
            "ALTER TABLE a CONVERT TO CHARACTER SET utf8mb4",
            "alter table `a` engine = InnoDB",
        ],
    );
    let change = "alter table \"a\" alter column \"x\" type varchar(50), alter column \"x\" set not null, alter column \"x\" drop default";
    assert_eq!(dangers(Pgsql, &[change]), [ChangeType, NotNull, NotNull]);
    // SQLite before it could drop columns, and whenever one changes.
    let rebuilt = [
        "create table \"__temp__a\" (\"x\" integer)",
        "insert into \"__temp__a\" (\"x\") select \"x\" from \"a\"",
        "drop table \"a\"",
        "alter table \"__temp__a\" rename to \"a\"",
    ];
    assert_eq!(dangers(Sqlite, &rebuilt), [ChangeType]);
    let doctrine = [
        "CREATE TEMPORARY TABLE __temp__a AS SELECT x FROM a",
        "DROP TABLE a",
        "CREATE TABLE a (x INTEGER)",
        "INSERT INTO a (x) SELECT x FROM __temp__a",
        "DROP TABLE __temp__a",
    ];
    assert_eq!(dangers(Sqlite, &doctrine), [ChangeType]);
}

#[test]
fn nothing_new_is_demanded_of_it() {
    each(
        Mysql,
        NotNull,
        &["alter table `a` add `x` varchar(255) not null", "alter table `a` add column (`x` int not null, `y` int)"],
    );
    each(
        Pgsql,
        NotNull,
        &[
            "alter table \"a\" add column \"x\" varchar(255) not null",
            "alter table \"a\" alter column \"x\" set not null",
        ],
    );
    each(Sqlite, NotNull, &["alter table \"a\" add column \"x\" varchar not null"]);
    each(
        Mysql,
        Constraint,
        &[
            "alter table `a` add unique `u`(`x`)",
            "alter table `a` add constraint `f` foreign key (`x`) references `b` (`id`)",
            "alter table `a` add primary key (`x`)",
            "create unique index u on a (x)",
        ],
    );
    each(
        Pgsql,
        Constraint,
        &["alter table \"a\" add constraint \"u\" unique (\"x\")", "alter table a add check (x > 0)"],
    );
    // Of a column that it does not know yet, a rule is none for it.
    safe(
        Mysql,
        &[
            "alter table `a` add `x` bigint unsigned null",
            "alter table `a` add constraint `f` foreign key (`x`) references `b` (`id`)",
            "alter table `a` add unique `u`(`x`)",
        ],
    );
}

#[test]
fn an_index_that_locks_is_told() {
    each(Pgsql, LockingIndex, &["create index \"i\" on \"a\" (\"x\")", "create index on only a using btree (x)"]);
    each(Mysql, LockingIndex, &["alter table `a` add fulltext `f`(`x`)", "create spatial index s on a (x)"]);
    let added =
        ["alter table \"a\" add column \"x\" varchar(9) null", "alter table \"a\" add constraint \"u\" unique (\"x\")"];
    assert_eq!(dangers(Pgsql, &added), [LockingIndex]);
}

#[test]
fn what_depends_on_answers_is_not_known() {
    each(
        Mysql,
        Unseen,
        &[
            "select * from information_schema.tables where table_schema = ? and table_name = ? and table_type = 'BASE TABLE'",
        ],
    );
    each(
        Sqlite,
        Unseen,
        &["select * from sqlite_master where type = 'table' and name = ?", "pragma table_info(\"notes\")"],
    );
    each(Pgsql, Unseen, &["select c.relname from pg_class c"]);
    safe(Mysql, &["select * from `notes` where `x` is null"]);
}

#[test]
fn what_is_not_known_is_a_danger() {
    each(
        Mysql,
        Unknown,
        &[
            "call tidy_up()",
            "create trigger t before insert on a for each row set @x = 1",
            "create or replace view v as select 1",
            "alter user x identified by 'secret'",
            "load data infile 'x' into table a",
            "do $$ begin drop table a; end $$",
        ],
    );
    each(
        Pgsql,
        Unknown,
        &["do $$ begin drop table a; end $$", "do $body$ drop $$ $body$", "alter table a enable row level security"],
    );
    let unknown = Migration { name: "m".into(), statements: Vec::new(), unknown: Some("class \"X\" not found".into()) };
    assert_eq!(harms(&[unknown])[0].danger, Unknown);
}

#[test]
fn nothing_hides_in_texts_comments_and_second_statements() {
    safe(Mysql, &["insert into `a` values ('x''; drop table b; --', 'it\\'s; drop table c')"]);
    safe(Pgsql, &["-- drop table a\ninsert into a values (1) /* drop table a */"]);
    assert_eq!(dangers(Mysql, &["insert into a values (1); drop table b"]), [DropTable]);
    assert_eq!(dangers(Pgsql, &["insert into a values ('\\'); drop table b; --')"]), [DropTable]);
    assert_eq!(dangers(Mysql, &["/*!50000 drop table b */"]), [DropTable]);
    assert_eq!(dangers(Mysql, &["create table if not exists `a` (x int)", "drop table `a`"]), [DropTable]);
}

#[test]
fn a_harm_names_file_statement_and_no_secret() {
    let harm = &harms(&[migration("2026_x", Mysql, &["alter user x\n  identified by 'geheim'"])])[0];
    assert_eq!(harm.to_string(), "2026_x: `alter user x identified by '…'` is none whose effect is known here");
    let long = format!("drop table {}", "x".repeat(500));
    assert!(harms(&[migration("m", Mysql, &[&long])])[0].statement.chars().count() <= SHOWN + 1);
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_without_a_panic(text in ".{0,80}") {
        for driver in [Mysql, Pgsql, Sqlite] {
            harms(&[migration("m", driver, &[&text])]);
        }
    }

    #[test]
    fn any_tokens_are_taken_without_a_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec!["alter", "table", "add", "drop", "create", "index", "unique", "(", ")", ",", ".", "'", "\"", "`", "$$", "a", "on", "not", "null", "rename", "to", ";", "/*", "[", "if", "exists"]),
            0..14,
        )
    ) {
        harms(&[migration("m", Mysql, &[&words.join(" ")])]);
    }
}
