//! stub
/// slice
pub fn slice_name(app: &crate::model::AppName) -> String { format!("deployd-{}.slice", app.as_str().replace('-', "\\x2d")) }
