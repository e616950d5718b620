//! What a text, a header or a query parameter has to be: `type.matcher.v3` and
//! `config.route.v3.HeaderMatcher`.

use std::borrow::Cow;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{
    RequestHead, flags,
    names::{self, Named, is_default},
    numbers, re2,
};

/// A regular expression that has to match a text whole: `type.matcher.v3.RegexMatcher`.
#[non_exhaustive]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "RegexFields", into = "RegexFields")]
pub struct RegexMatcher {
    /// The expression, in the syntax of RE2.
    pub regex: String,
    whole: Regex,
    anywhere: Regex,
}

#[derive(Clone, Serialize, Deserialize)]
struct RegexFields {
    #[serde(default)]
    regex: String,
}

impl TryFrom<RegexFields> for RegexMatcher {
    type Error = String;

    fn try_from(RegexFields { regex }: RegexFields) -> Result<Self, String> {
        if regex.is_empty() {
            return Err("`regex` must not be empty".to_owned());
        }
        let compiled = |pattern: &str| {
            Regex::new(pattern)
                .map_err(|error| format!("`{regex}` is not a regular expression: {error}"))
        };
        let pattern = re2::translate(&regex);
        Ok(Self {
            whole: compiled(&format!(r"\A(?:{pattern})\z"))?,
            anywhere: compiled(&pattern)?,
            regex,
        })
    }
}

impl From<RegexMatcher> for RegexFields {
    fn from(RegexMatcher { regex, .. }: RegexMatcher) -> Self {
        Self { regex }
    }
}

impl PartialEq for RegexMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.regex == other.regex
    }
}

impl Eq for RegexMatcher {}

impl RegexMatcher {
    /// Whether it matches all of `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    pub(super) const fn anywhere(&self) -> &Regex {
        &self.anywhere
    }
}

/// What a text has to be: `type.matcher.v3.StringMatcher`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StringFields", into = "StringFields")]
pub struct StringMatcher {
    /// The pattern.
    pub pattern: StringPattern,
    /// Whether case does not count. Default: it does. It never counts for `safe_regex`, which says
    /// so itself.
    pub ignore_case: bool,
}

/// The patterns of a [`StringMatcher`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringPattern {
    /// The text itself.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// A part of it.
    Contains(String),
    /// A regular expression for all of it.
    SafeRegex(RegexMatcher),
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct StringFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contains: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_regex: Option<RegexMatcher>,
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    ignore_case: bool,
}

/// The one alternative that is set.
fn only<T>(alternatives: impl IntoIterator<Item = Option<T>>) -> Option<T> {
    let mut set = alternatives.into_iter().flatten();
    let first = set.next()?;
    set.next().is_none().then_some(first)
}

impl TryFrom<StringFields> for StringMatcher {
    type Error = &'static str;

    fn try_from(fields: StringFields) -> Result<Self, Self::Error> {
        let pattern = only([
            fields.exact.map(StringPattern::Exact),
            fields.prefix.map(StringPattern::Prefix),
            fields.suffix.map(StringPattern::Suffix),
            fields.contains.map(StringPattern::Contains),
            fields.safe_regex.map(StringPattern::SafeRegex),
        ]);
        Ok(Self {
            pattern: pattern
                .ok_or("expected one of `exact`, `prefix`, `suffix`, `contains`, `safe_regex`")?,
            ignore_case: fields.ignore_case,
        })
    }
}

impl From<StringMatcher> for StringFields {
    fn from(matcher: StringMatcher) -> Self {
        let mut fields = Self {
            ignore_case: matcher.ignore_case,
            ..Self::default()
        };
        match matcher.pattern {
            StringPattern::Exact(text) => fields.exact = Some(text),
            StringPattern::Prefix(text) => fields.prefix = Some(text),
            StringPattern::Suffix(text) => fields.suffix = Some(text),
            StringPattern::Contains(text) => fields.contains = Some(text),
            StringPattern::SafeRegex(regex) => fields.safe_regex = Some(regex),
        }
        fields
    }
}

impl StringPattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::Contains(part) => text.contains(part),
            Self::SafeRegex(regex) => regex.matches(text),
        }
    }

    fn matches_in_any_case(&self, text: &str) -> bool {
        let lower = |text: &str| text.to_ascii_lowercase();
        let (text_, text) = (text, lower(text));
        match self {
            Self::Exact(exact) => text == lower(exact),
            Self::Prefix(prefix) => text.starts_with(&lower(prefix)),
            Self::Suffix(suffix) => text.ends_with(&lower(suffix)),
            Self::Contains(part) => text.contains(&lower(part)),
            Self::SafeRegex(regex) => regex.matches(text_),
        }
    }
}

impl StringMatcher {
    /// A text that is exactly this.
    pub fn exact(text: impl Into<String>) -> Self {
        Self {
            pattern: StringPattern::Exact(text.into()),
            ignore_case: false,
        }
    }

    /// Whether `text` is as it has to be.
    pub fn matches(&self, text: &str) -> bool {
        match self.ignore_case {
            true => self.pattern.matches_in_any_case(text),
            false => self.pattern.matches(text),
        }
    }
}

/// What a header of a request has to be: `config.route.v3.HeaderMatcher`. `:method`, `:path`,
/// `:authority` and `:scheme` are headers here. Without a pattern the header has to be there.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HeaderFields", into = "HeaderFields")]
pub struct HeaderMatcher {
    /// Its name. Required.
    pub name: String,
    /// What its value has to be.
    pub pattern: HeaderPattern,
    /// Whether it has to be otherwise. Default: no.
    pub invert_match: bool,
    /// Whether a header that is not there counts as an empty one. Default: no, then only
    /// `present_match` can take it.
    pub treat_missing_header_as_empty: bool,
}

/// The patterns of a [`HeaderMatcher`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderPattern {
    /// `present_match`: whether it is there.
    Present(bool),
    /// `string_match`, or the older `exact_match`, `prefix_match`, `suffix_match`,
    /// `contains_match`, `safe_regex_match`.
    Text(StringMatcher),
    /// `range_match`: a whole number within bounds.
    Range(Int64Range),
}

/// Whole numbers: `type.v3.Int64Range`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Int64Range {
    /// The first of them.
    #[serde(default, deserialize_with = "numbers::signed")]
    pub start: i64,
    /// The first one that is over.
    #[serde(default, deserialize_with = "numbers::signed")]
    pub end: i64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct HeaderFields {
    #[serde(default)]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact_match: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_regex_match: Option<RegexMatcher>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range_match: Option<Int64Range>,
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    present_match: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_match: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix_match: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contains_match: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_match: Option<StringMatcher>,
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    invert_match: bool,
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    treat_missing_header_as_empty: bool,
}

impl TryFrom<HeaderFields> for HeaderMatcher {
    type Error = &'static str;

    fn try_from(fields: HeaderFields) -> Result<Self, Self::Error> {
        if fields.name.is_empty() {
            return Err("`name` must not be empty");
        }
        let older = |pattern| StringMatcher {
            pattern,
            ignore_case: false,
        };
        let texts = [
            fields.exact_match.map(StringPattern::Exact).map(older),
            fields.prefix_match.map(StringPattern::Prefix).map(older),
            fields.suffix_match.map(StringPattern::Suffix).map(older),
            fields
                .contains_match
                .map(StringPattern::Contains)
                .map(older),
            fields
                .safe_regex_match
                .map(StringPattern::SafeRegex)
                .map(older),
            fields.string_match,
        ];
        let mut set: Vec<_> = texts
            .into_iter()
            .flatten()
            .map(HeaderPattern::Text)
            .collect();
        set.extend(fields.present_match.map(HeaderPattern::Present));
        set.extend(fields.range_match.map(HeaderPattern::Range));
        let pattern = match set.len() {
            0 => HeaderPattern::Present(true),
            1 => set.remove(0),
            _ => {
                return Err(
                    "expected one of `string_match`, `present_match`, `range_match` and the like",
                );
            }
        };
        Ok(Self {
            name: fields.name,
            pattern,
            invert_match: fields.invert_match,
            treat_missing_header_as_empty: fields.treat_missing_header_as_empty,
        })
    }
}

impl From<HeaderMatcher> for HeaderFields {
    fn from(matcher: HeaderMatcher) -> Self {
        let mut fields = Self {
            name: matcher.name,
            invert_match: matcher.invert_match,
            treat_missing_header_as_empty: matcher.treat_missing_header_as_empty,
            ..Self::default()
        };
        match matcher.pattern {
            HeaderPattern::Present(present) => fields.present_match = Some(present),
            HeaderPattern::Text(text) => fields.string_match = Some(text),
            HeaderPattern::Range(range) => fields.range_match = Some(range),
        }
        fields
    }
}

impl HeaderMatcher {
    /// Whether the header of this request is as it has to be. Several headers of the name count as
    /// one, with commas between.
    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        let value = request.header(&self.name);
        if let HeaderPattern::Present(present) = self.pattern {
            let there = value.is_some() || self.treat_missing_header_as_empty;
            return (there == present) != self.invert_match;
        }
        let value = match value {
            Some(value) => value,
            None if self.treat_missing_header_as_empty => Cow::Borrowed(""),
            None => return false,
        };
        let fits = match &self.pattern {
            HeaderPattern::Present(_) => true,
            HeaderPattern::Text(text) => text.matches(&value),
            HeaderPattern::Range(range) => value
                .parse()
                .is_ok_and(|number: i64| (range.start..range.end).contains(&number)),
        };
        fits != self.invert_match
    }
}

/// What a parameter of the query has to be: `config.route.v3.QueryParameterMatcher`. Without a
/// pattern it has to be there.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryParameterMatcher {
    /// Its name. Required.
    pub name: String,
    /// What its value has to be, as it stands in the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_match: Option<StringMatcher>,
    /// Whether it has to be there.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub present_match: Option<bool>,
}

impl QueryParameterMatcher {
    /// Whether the first parameter of this name is as it has to be.
    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        let value = request.query_parameter(&self.name);
        match (&self.string_match, self.present_match) {
            (Some(text), _) => value.is_some_and(|value| text.matches(value)),
            (None, Some(present)) => value.is_some() == present,
            (None, None) => value.is_some(),
        }
    }
}

/// A share of all requests, chosen by chance: `config.core.v3.RuntimeFractionalPercent`. No runtime
/// value overrides it here.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFraction {
    /// The share.
    pub default_value: FractionalPercent,
}

/// A share: `type.v3.FractionalPercent`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FractionalPercent {
    /// How many.
    #[serde(default, deserialize_with = "numbers::deserialize")]
    pub numerator: u32,
    /// Of how many. Default `HUNDRED`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub denominator: Denominator,
}

/// What a share is a share of.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Denominator {
    /// `HUNDRED`
    #[default]
    Hundred,
    /// `TEN_THOUSAND`
    TenThousand,
    /// `MILLION`
    Million,
}

impl Named for Denominator {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("HUNDRED", 0, Self::Hundred),
        ("TEN_THOUSAND", 1, Self::TenThousand),
        ("MILLION", 2, Self::Million),
    ];
}

impl FractionalPercent {
    /// Whether this sample of chance, any number, belongs to the share.
    pub fn takes(&self, sample: u64) -> bool {
        let of = match self.denominator {
            Denominator::Hundred => 100,
            Denominator::TenThousand => 10_000,
            Denominator::Million => 1_000_000,
        };
        sample % of < u64::from(self.numerator)
    }
}
