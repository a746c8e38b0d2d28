#![doc = include_str!("../README.md")]

pub mod action;
pub mod cause;
pub mod commit;
pub mod deployment;
pub mod event;
pub mod freeze;
pub mod journey;
pub mod machine;
pub mod plan;
pub mod policy;
pub mod replay;
pub mod state;
pub mod weight;

pub use action::{Action, News, Notification, RevertOrder};
pub use analysis::Arm;
pub use cause::{CauseLink, Explained, Explanation, SuspectCommit};
pub use commit::{Candidate, Commit, Release, Revision};
pub use deployment::{Deployment, DeploymentId, Finished, GitOutcome, Outcome};
pub use event::{Event, Happened, Order};
pub use journey::Journey;
pub use machine::{Transition, outstanding, transition};
pub use plan::Plan;
pub use policy::Policy;
pub use state::{Live, Phase, State};
pub use weight::Weight;
