//! Notifications from a server about a call: progress and log messages.
//!
//! The server speaks under our progress token, the client listens for its own; only the token is
//! replaced. Whether and to whom a notice goes is not decided here.

use crate::wire::{
    json::{Frame, Object, Text},
    mcp::meta::PROGRESS_TOKEN,
    rpc::{Notification, ProgressToken, RequestId, encode_notification, open},
};

/// A notification to be handed on to whoever made the call.
#[derive(Clone, Debug)]
pub struct Notice {
    pub method: Text,
    pub params: Option<Object>,
}

/// How much a log message matters; the names and the order of RFC 5424.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    const ALL: [(&'static str, Self); 8] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("critical", Self::Critical),
        ("alert", Self::Alert),
        ("emergency", Self::Emergency),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, level)| level)
    }

    pub fn as_str(self) -> &'static str {
        let named = Self::ALL.into_iter().find(|(_, level)| *level == self);
        named.map_or("emergency", |(name, _)| name)
    }
}

impl Notice {
    /// The level of a log message; none for every other notice.
    pub fn level(&self) -> Option<Level> {
        if self.method.as_str() != "notifications/message" {
            return None;
        }
        Level::parse(&self.params.as_ref()?.text("level")?)
    }

    pub fn progress_token(&self) -> Option<ProgressToken> {
        RequestId::parse(&self.params.as_ref()?.get(PROGRESS_TOKEN)?)
    }

    /// Writes it for the client, under the client's token. Without one, ours is taken out: it means
    /// nothing to the client.
    pub fn encode(&self, token: Option<&ProgressToken>) -> Frame {
        let Some(params) = &self.params else {
            return encode_notification(&self.method, None);
        };
        let mut out = open(256);
        out.copy(b",\"method\":").copy(&crate::wire::json::quote(&self.method));
        out.copy(b",\"params\":");
        let edit = match token {
            Some(token) => params.edit().set(PROGRESS_TOKEN, token.to_bytes()),
            None => params.edit().remove(PROGRESS_TOKEN),
        };
        edit.write(&mut out);
        out.copy(b"}");
        out.finish()
    }
}

impl From<Notification> for Notice {
    fn from(Notification { method, params }: Notification) -> Self {
        Self { method, params }
    }
}

#[cfg(test)]
mod tests {
    use super::{Notice, Object, RequestId};

    #[test]
    fn progress_is_handed_on_under_the_clients_token() {
        let params = r#"{"progress":1.50,"progressToken":7,"x":[ 1 ]}"#;
        let params = Some(Object::parse(params.into()).unwrap());
        let notice = Notice { method: "notifications/progress".into(), params };
        assert_eq!(notice.progress_token(), Some(RequestId::from_u64(7)));
        let params_under = |token| {
            let sent = notice.encode(token).into_bytes();
            let head = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":"#;
            let rest = sent.strip_prefix(head).and_then(|rest| rest.strip_suffix(b"}"));
            String::from_utf8(rest.unwrap().to_vec()).unwrap()
        };
        let theirs = RequestId::parse(&"\"t\"".into()).unwrap();
        let want = r#"{"progress":1.50,"progressToken":"t","x":[ 1 ]}"#;
        assert_eq!(params_under(Some(&theirs)), want);
        assert_eq!(params_under(None), r#"{"progress":1.50,"x":[ 1 ]}"#);
    }

    #[test]
    fn a_notice_without_params_stays_without() {
        let notice = Notice { method: "a\"b".into(), params: None };
        assert_eq!(notice.progress_token(), None);
        assert_eq!(notice.encode(None).into_bytes(), r#"{"jsonrpc":"2.0","method":"a\"b"}"#);
    }
}
