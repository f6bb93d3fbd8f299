//! What waits together is published together, and what most replicas list counts.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::{Aside, Edition, Generation, Keeper, Likeness, News, Pins, Shown, agree};
use crate::{audit::Audit, config::Durability};

#[tokio::test]
async fn what_waits_together_becomes_one_edition() {
    let published = Mutex::new(Vec::new());
    let dir = tempfile::tempdir().unwrap();
    let (audit, _thread) = Audit::open(dir.path(), Durability::Cached).unwrap();
    let keeper = Keeper {
        publish: |edition: Edition| published.lock().unwrap().push(edition.generation),
        shown: Arc::new(Shown::new(Default::default())),
        generation: Generation(1),
        rules: Default::default(),
        roster: Default::default(),
        pins: Pins::open(dir.path().join("pins.lock"), audit),
    };
    let (news, inbox) = mpsc::channel(8);
    let mut all_done = Vec::new();
    for n in 2..8 {
        let (published, done) = oneshot::channel();
        let mut aside = Box::<Aside>::default();
        aside.generation = Generation(n);
        news.try_send(News::Next { aside, published }).unwrap();
        all_done.push(done);
    }
    drop(news);
    keeper.run(inbox).await;
    assert_eq!(*published.lock().unwrap(), [Generation(7)]);
    for done in all_done {
        done.await.unwrap();
    }
}

#[test]
fn what_most_replicas_list_is_what_the_server_offers() {
    let [a, b, c] = [1, 2, 3].map(|n| Likeness([n; 32]));
    let table: [(&[Likeness], Option<Likeness>, Option<Likeness>); 8] = [
        (&[], None, None),
        (&[], Some(a), None),
        (&[a], None, Some(a)),
        // It changed its lists, and is the only one.
        (&[b], Some(a), Some(b)),
        (&[a, b], Some(b), Some(b)),
        (&[a, b], None, Some(a)),
        (&[a, b, b], Some(a), Some(b)),
        (&[a, b, c], Some(c), Some(c)),
    ];
    for (listed, stands, want) in table {
        assert_eq!(agree(listed, stands), want, "{listed:?} {stands:?}");
    }
}
