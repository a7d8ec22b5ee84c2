//! How people may sign in: how long their sessions last. Kept as one setting, read once and after each change.

use quantix_model::Fault;
use quantix_store::Store;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::RwLock;

/// Setting that holds it, as JSON.
const SETTING: &str = "sign_in";

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Counts changes.
    pub generation: u64,
    /// A session that is not used for so long ends.
    pub idle_minutes: u32,
    /// A session ends after so long, used or not.
    pub life_minutes: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { generation: 0, idle_minutes: 8 * 60, life_minutes: 24 * 60 }
    }
}

impl Settings {
    /// A session that is not used for so long ends.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.idle_minutes))
    }

    /// A session ends after so long, used or not.
    pub fn life(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.life_minutes))
    }
}

/// The settings in force.
#[derive(Debug, Default)]
pub struct InForce(RwLock<Option<Arc<Settings>>>);

impl InForce {
    /// As they stand.
    pub async fn get(&self, store: &Store) -> Result<Arc<Settings>, Fault> {
        if let Some(settings) = self.0.read().await.as_ref() {
            return Ok(settings.clone());
        }
        let mut held = self.0.write().await;
        let settings = Arc::new(match store.setting_get(SETTING).await? {
            Some(text) => serde_json::from_str(&text).map_err(Fault::internal)?,
            None => Settings::default(),
        });
        *held = Some(settings.clone());
        Ok(settings)
    }
}
