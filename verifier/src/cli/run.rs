//! `serin run`: the settings, the logs, the stop signals.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, complain};
use crate::config::{self, Colour, Instance};
use crate::run::{RunError, Serin};
use crate::{chain, telemetry};

/// Runs until SIGTERM or ctrl-C.
pub(super) async fn run(config: &Path) -> Exit {
    let instance = match read(config).await {
        Ok(instance) => instance,
        Err(problems) => {
            complain(&problems);
            return Exit::WrongInput;
        }
    };
    let telemetry = telemetry::start(instance.otlp.as_deref(), telemetry::Logs::Terminal);
    let exit = match serve(&instance).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("serin: {}", chain(&error)));
            match error {
                RunError::Ended(_) => Exit::Failed,
                RunError::Journal(_)
                | RunError::Folder { .. }
                | RunError::Mirror { .. }
                | RunError::Provider { .. }
                | RunError::Notifier { .. }
                | RunError::Listen { .. } => Exit::WrongInput,
            }
        }
    };
    telemetry.end();
    exit
}

async fn serve(instance: &Instance) -> Result<(), RunError> {
    let serin = Serin::new(instance).await?;
    tracing::info!("the page is at http://{}", serin.handle.address);
    serin.run(stop()).await
}

/// Resolves when somebody wants this process to end.
pub(crate) async fn stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        result = tokio::signal::ctrl_c() => {
            if result.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The settings, or what is wrong with them, for people.
pub(super) async fn read(path: &Path) -> Result<Instance, String> {
    let text = tokio::fs::read(path).await.map_err(|error| {
        format!(
            "failed to read {}: {error}\nhint: name the file with --config; a first one needs only\n\n  repositories: [{{ name: shop, url: https://git.example.com/shop.git }}]\n",
            path.display()
        )
    })?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = absolute.parent().unwrap_or(Path::new("/"));
    #[expect(
        clippy::disallowed_methods,
        reason = "secrets are named by environment variables in the settings"
    )]
    let env = |name: &str| std::env::var(name).ok();
    let colour = if super::colourful() { Colour::Always } else { Colour::Never };
    config::instance(&path.display().to_string(), &text, base, &env)
        .map_err(|problems| config::render_problems(&problems, colour))
}
