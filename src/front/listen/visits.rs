//! Pages that one legacy client was shown, until their server says that somebody has visited them.
//!
//! What is awaited is known by the server's own id, and on the caller's own session only: on one
//! that is shared nobody could tell whom it means. Bounded in number, size and time; the client is
//! told nothing of what was never shown to it. Ends with its session.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
    time::timeout,
};

use crate::{
    domain::limits::{ELICITATION_ID_BYTES_MAX, QUESTION_WAIT_MAX, VISITS_MAX},
    fleet::Mailbox,
    upstream::News,
    wire::Question,
};

#[derive(Debug, Default)]
pub(in crate::front) struct Visits {
    /// One for each round of pages.
    awaited: Mutex<JoinSet<()>>,
    visited: Arc<Mailbox<String>>,
}

impl Visits {
    /// From now on these pages are awaited on this session.
    pub(in crate::front) fn expect(
        &self,
        shown: &[Question],
        session: impl FnOnce() -> Option<broadcast::Receiver<News>>,
    ) {
        let ids = shown.iter().filter_map(Question::elicitation_id);
        let ids: BTreeSet<String> = ids.filter(|id| id.len() <= ELICITATION_ID_BYTES_MAX).collect();
        if ids.is_empty() {
            return;
        }
        let Some(news) = session() else { return };
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        while awaited.try_join_next().is_some() {}
        if awaited.len() < VISITS_MAX {
            let visited = hear(ids, news, self.visited.clone());
            awaited.spawn(async move {
                // What takes longer the client finds out by itself.
                timeout(QUESTION_WAIT_MAX, visited).await.ok();
            });
        }
    }

    /// The ids of pages that were visited. Waits until there are some and `may_take`.
    pub(in crate::front) async fn heard(&self, may_take: impl Fn() -> bool) -> BTreeSet<String> {
        self.visited.heard(may_take).await
    }

    pub(super) fn ring(&self) {
        self.visited.ring();
    }
}

/// Listens until all of them were visited, or the session is over.
async fn hear(
    mut ids: BTreeSet<String>,
    mut news: broadcast::Receiver<News>,
    visited: Arc<Mailbox<String>>,
) {
    while !ids.is_empty() {
        match news.recv().await {
            Ok(News::Visited(id)) if ids.remove(&id) => visited.put_within(VISITS_MAX, id),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::broadcast, task::yield_now, time::timeout};

    use super::{ELICITATION_ID_BYTES_MAX, News, Question, VISITS_MAX, Visits};
    use crate::{domain::Asking, wire::Object};

    fn page(id: &str) -> Question {
        let params = format!(r#"{{"mode":"url","elicitationId":"{id}"}}"#);
        let params = Object::parse(params.into()).ok();
        Question { key: "q0".to_owned(), method: Asking::Url, params }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_pages_are_awaited_and_so_many_visits_kept_and_no_longer() {
        let (visits, news) = (Visits::default(), broadcast::Sender::new(64));
        for n in 0..VISITS_MAX * 2 {
            visits.expect(&[page(&n.to_string())], || Some(news.subscribe()));
        }
        let long = "x".repeat(ELICITATION_ID_BYTES_MAX + 1);
        visits.expect(&[page(&long)], || panic!("it is not awaited"));
        assert_eq!(news.receiver_count(), VISITS_MAX);
        news.send(News::Visited("0".to_owned())).unwrap();
        news.send(News::Visited("nobody was shown this".to_owned())).unwrap();
        assert_eq!(visits.heard(|| true).await, ["0".to_owned()].into());
        // Its place is free again, and all others are with time.
        visits.expect(&[page("again")], || Some(news.subscribe()));
        assert_eq!(news.receiver_count(), VISITS_MAX);
        tokio::time::sleep(super::QUESTION_WAIT_MAX * 2).await;
        yield_now().await;
        assert_eq!(news.receiver_count(), 0);
        assert!(timeout(Duration::from_secs(1), visits.heard(|| true)).await.is_err());
    }
}
