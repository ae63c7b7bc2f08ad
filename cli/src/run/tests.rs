#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{pending, ready};

use braid_crds::WorkflowSpec;

use super::*;

fn finished() -> Ended {
    Ended::Finished(Workflow::new("w", WorkflowSpec::default()))
}

#[tokio::test]
async fn a_run_is_not_followed_when_its_operator_has_ended() {
    let end = OperatorEnd::Panicked("index out of bounds".into());
    let failure = while_led(pending(), ready(end)).await.unwrap_err();
    assert_eq!(70, failure.exit().code());
    let told = failure.to_string();
    assert!(
        told.contains("the run cannot go on: the operator panicked: index out of bounds")
            && told.contains("start it again"),
        "{told}"
    );
}

#[tokio::test]
async fn a_run_that_has_ended_is_not_judged_by_its_operators_end() {
    let both = while_led(ready(Ok(finished())), ready(OperatorEnd::Stopped)).await;
    assert!(matches!(both, Ok(Ended::Finished(_))), "{both:?}");
    let led = while_led(ready(Ok(finished())), pending()).await;
    assert!(matches!(led, Ok(Ended::Finished(_))), "{led:?}");
}
