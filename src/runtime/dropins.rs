//! stub
/// slice
pub fn slice_name(app: &crate::model::AppName) -> String {
    format!("deployd-{}.slice", app.as_str().replace('-', "\\x2d"))
}
/// d
pub fn dropins(_s: &crate::config::Settings, _p: &crate::model::Paths) -> Vec<(String, String)> {
    Vec::new()
}
