//! stub
/// g
pub fn generate(
    _p: &crate::model::Paths,
    _o: &std::path::Path,
    _f: &crate::config::HostFacts,
    _u: &dyn Fn(&str) -> Option<(u32, u32)>,
) {
}
