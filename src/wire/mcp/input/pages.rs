//! Questions as results, where a server of an older revision asked otherwise.
//!
//! Servers of 2025-11-25 ask by requests, and refuse a call with an error while a page is to be
//! visited first. Both become the `input_required` result that a modern server would have given;
//! the questions keep their own bytes.

use bytes::Bytes;

use super::{
    ELICITATION_ID, InputRequired, Question, REQUESTS, RESULT_TYPE, STATE, input_responses,
};
use crate::{
    domain::Asking,
    wire::{
        WireError,
        json::{Frame, Object, elements, quote},
        rpc::{ErrorObject, code, encode_notification},
    },
};

/// The members that a page to be visited must have, all of them texts.
const PAGE: [&str; 3] = ["message", "url", ELICITATION_ID];

impl InputRequired {
    /// The pages that are to be visited before a call is made again, if that is what this error
    /// says of at most `max` pages. It has no state: the request itself is all that is sent again.
    pub fn of_error(error: &Object, max: usize) -> Option<Self> {
        if error.integer("code") != Some(code::URL_ELICITATION_REQUIRED) {
            return None;
        }
        let listed = error.object("data")?.get("elicitations")?;
        let listed = elements(listed, max.saturating_add(1)).ok()?;
        let pages: Vec<Object> = listed.into_iter().map(page).collect::<Option<_>>()?;
        if pages.is_empty() || pages.len() > max {
            return None;
        }
        let asked = pages.iter().enumerate().map(|(n, page)| (n, Asking::Url, Some(page)));
        let result = input_required(asked, None).ok()?;
        let question = |(n, page): (usize, Object)| Question {
            key: question_key(n),
            method: Asking::Url,
            params: Some(page),
        };
        let questions = pages.into_iter().enumerate().map(question).collect();
        Some(Self { result, questions })
    }
}

fn page(text: Bytes) -> Option<Object> {
    let page = Object::parse(text).ok()?;
    let is_page = Asking::parse(Asking::Url.method(), Some(&page)) == Some(Asking::Url);
    (is_page && PAGE.iter().all(|key| page.str(key).is_some())).then_some(page)
}

impl Question {
    /// By which id a server tells later that its page was visited.
    pub fn elicitation_id(&self) -> Option<String> {
        let params = self.params.as_ref().filter(|_| self.method == Asking::Url)?;
        params.text(ELICITATION_ID)
    }
}

/// A result that asks this, each under the `question_key` of its number.
pub fn input_required<'a>(
    asked: impl Iterator<Item = (usize, Asking, Option<&'a Object>)>,
    state: Option<&str>,
) -> Result<Object, WireError> {
    let asked: Vec<(String, Bytes)> =
        asked.map(|(n, asking, params)| (question_key(n), question(asking, params))).collect();
    let requests = input_responses(asked.iter().map(|(key, text)| (key.as_str(), text.clone())));
    let result = Object::empty().edit();
    let result = result.set(RESULT_TYPE, Bytes::from_static(b"\"input_required\""));
    let result = result.set(REQUESTS, requests);
    let result = match state {
        Some(state) => result.set(STATE, quote(state)),
        None => result,
    };
    Object::parse(result.finish().into_bytes())
}

/// The key of the question with this number.
pub fn question_key(n: usize) -> String {
    format!("q{n}")
}

fn question(asking: Asking, params: Option<&Object>) -> Bytes {
    let question = Object::empty().edit().set("method", quote(asking.method()));
    let question = match params {
        Some(params) => question.set("params", params.raw().clone()),
        None => question,
    };
    question.finish().into_bytes()
}

/// Tells a legacy client that a page was visited.
pub fn encode_visited(id: &str) -> Frame {
    let params = Object::empty().edit().set(ELICITATION_ID, quote(id)).finish().into_bytes();
    encode_notification("notifications/elicitation/complete", Some(&params))
}

impl ErrorObject {
    /// -32021: the caller did not say that its user can be sent to pages.
    pub fn pages_not_declared() -> Self {
        let message =
            "a page must be visited first, and the request does not declare that it can be";
        let data = r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#;
        let data = Some(Bytes::from_static(data.as_bytes()));
        Self { code: code::MISSING_CAPABILITY, message: message.to_owned(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::{InputRequired, Object};

    const PAGE: &str =
        r#"{"mode":"url","elicitationId":"7","url":"https:\/\/a.example/","message":"m","x":1e0}"#;

    fn read(code: i64, elicitations: &str) -> Option<InputRequired> {
        let error =
            format!(r#"{{"code":{code},"message":"m","data":{{"elicitations":{elicitations}}}}}"#);
        InputRequired::of_error(&Object::parse(error.into()).unwrap(), 2)
    }

    #[test]
    fn pages_to_be_visited_are_questions_in_their_own_bytes() {
        let asks = read(-32042, &format!("[ {PAGE} , {PAGE}]")).unwrap();
        let question = format!(r#"{{"method":"elicitation/create","params":{PAGE}}}"#);
        let want = format!(
            r#"{{"resultType":"input_required","inputRequests":{{"q0":{question},"q1":{question}}}}}"#
        );
        assert_eq!(asks.result().raw(), &want);
        assert_eq!(asks.questions[1].elicitation_id().as_deref(), Some("7"));
        assert!(asks.state().is_none());
        // What was made is what would have been read.
        assert!(matches!(
            InputRequired::read(asks.result()),
            Ok(super::super::Progressed::Asks(read)) if read.questions.len() == 2
        ));
    }

    #[test]
    fn what_does_not_ask_for_pages_is_an_error_like_any_other() {
        let form = PAGE.replace("url\",\"el", "form\",\"el");
        assert_ne!(form, PAGE);
        let nameless = PAGE.replace("elicitationId", "elicitationid2");
        for elicitations in [
            "[]".to_owned(),
            "{}".to_owned(),
            "null".to_owned(),
            "[7]".to_owned(),
            format!("[{form}]"),
            format!("[{nameless}]"),
            format!("[{PAGE},7]"),
            format!("[{PAGE},{PAGE},{PAGE}]"),
        ] {
            assert!(read(-32042, &elicitations).is_none(), "{elicitations}");
        }
        assert!(read(-32041, &format!("[{PAGE}]")).is_none());
        let bare = Object::parse(r#"{"code":-32042,"message":"m"}"#.into()).unwrap();
        assert!(InputRequired::of_error(&bare, 2).is_none());
    }
}
