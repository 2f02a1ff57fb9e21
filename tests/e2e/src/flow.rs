//! Changes of each kind arrive in the target and in the topics.

use anyhow::Result;

use crate::harness::Scene;

#[test]
fn a_scene_has_databases_of_its_own() -> Result<()> {
    let scene = Scene::new("scene")?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY, note TEXT); INSERT INTO t VALUES (1, 'a'), (2, NULL)")?;
    scene.target(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.t (id INT PRIMARY KEY, note TEXT)", scene.database))?;
    scene.target("INSERT INTO t VALUES (1, 'a'), (2, NULL)")?;
    let query = "SELECT id, note FROM t ORDER BY id";
    let rows = vec![vec![Some("1".to_owned()), Some("a".to_owned())], vec![Some("2".to_owned()), None]];
    assert_eq!(scene.source_rows(query)?, rows);
    assert_eq!(scene.target_rows(query)?, rows);
    scene.finish()
}
