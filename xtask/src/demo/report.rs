//! placeholder
pub(crate) fn render(_: &super::Outcome, _: &super::Options) -> String {
    String::new()
}
