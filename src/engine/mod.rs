//! Executes a plan: stage, seal, activate, cut over, verify, record, prune; rollback; recovery.
