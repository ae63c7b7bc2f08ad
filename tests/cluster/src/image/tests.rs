#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::Read as _;

use super::*;

fn members(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let read = |entry: io::Result<tar::Entry<'_, File>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

fn example(directory: &Path) -> Image {
    std::fs::write(directory.join("program"), "a program").unwrap();
    let programs = Layer::default()
        .file("usr/bin/program", directory.join("program"), 0o755)
        .symlink("usr/bin/other", "program")
        .directory("tmp", 0o1777);
    Image::new("team/tool:1.2")
        .entrypoint(["/usr/bin/program", "--run"])
        .env("A", "b")
        .user(65532, 65532)
        .label("l", "m")
        .layer(programs)
        .layer(Layer::default().bytes("etc/file", "text", 0o644))
}

#[test]
fn every_descriptor_tells_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image.tar");
    let digest = example(directory.path()).write(&file).unwrap();
    let members = members(&file);
    let json = |name: &str| serde_json::from_slice::<Value>(&members[name]).unwrap();
    let of = |descriptor: &Value| {
        let bytes = &members[&blob(descriptor["digest"].as_str().unwrap())];
        let mut hashing = Hashing::new(io::sink());
        hashing.write_all(bytes).unwrap();
        let (digest, size) = hashing.end();
        assert_eq!(descriptor["digest"], digest);
        assert_eq!(descriptor["size"], size);
        bytes.clone()
    };
    let entry = &json("index.json")["manifests"][0];
    assert_eq!(entry["digest"], digest);
    assert_eq!(
        entry["annotations"]["io.containerd.image.name"],
        "docker.io/team/tool:1.2"
    );
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1.2");
    let manifest: Value = serde_json::from_slice(&of(entry)).unwrap();
    let config: Value = serde_json::from_slice(&of(&manifest["config"])).unwrap();
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/program", "--run"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Labels"], json!({"l": "m"}));
    assert_eq!(config["config"]["Env"][0], "A=b");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(2, layers.len());
    for (layer, id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
        assert_eq!(&layer["digest"], id, "layers are not compressed");
    }
    let saved = &json("manifest.json")[0];
    assert_eq!(saved["RepoTags"], json!(["team/tool:1.2"]));
    assert!(members.contains_key(saved["Config"].as_str().unwrap()));

    let bytes = of(&layers[0]);
    let mut layer = tar::Archive::new(bytes.as_slice());
    let seen: Vec<(String, u32, tar::EntryType)> = layer
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (0, 0, 0),
                (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap())
            );
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (path, header.mode().unwrap(), header.entry_type())
        })
        .collect();
    let (directory, link, file) = (
        tar::EntryType::Directory,
        tar::EntryType::Symlink,
        tar::EntryType::Regular,
    );
    let wanted = [
        ("tmp/", 0o1777, directory),
        ("usr/", 0o755, directory),
        ("usr/bin/", 0o755, directory),
        ("usr/bin/other", 0o777, link),
        ("usr/bin/program", 0o755, file),
    ];
    assert_eq!(
        wanted
            .map(|(path, mode, kind)| (path.to_owned(), mode, kind))
            .as_slice(),
        seen
    );
}

#[test]
fn the_same_files_make_the_same_bytes() {
    let [one, other] = [(); 2].map(|()| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image.tar");
        example(directory.path()).write(&file).unwrap();
        std::fs::read(&file).unwrap()
    });
    assert!(one == other);
}

#[test]
fn a_tree_is_taken_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(path("tree/deep/empty")).unwrap();
    std::fs::write(path("tree/deep/file"), "x").unwrap();
    std::os::unix::fs::symlink("deep/file", path("tree/link")).unwrap();
    let layer = Layer::default().tree(&path("tree")).unwrap();
    let names: Vec<&str> = layer.entries.keys().map(String::as_str).collect();
    assert_eq!(["deep", "deep/empty", "deep/file", "link"].as_slice(), names);
}

#[test]
fn names_are_those_that_clusters_know() {
    for (name, wanted) in [
        ("tool:1", Some("docker.io/library/tool")),
        ("team/tool:1", Some("docker.io/team/tool")),
        ("ghcr.io/team/tool:v1.0-rc.1", Some("ghcr.io/team/tool")),
        ("localhost/tool:1", Some("localhost/tool")),
        ("localhost:5000/tool:1", Some("localhost:5000/tool")),
        ("tool", None),
        ("localhost:5000/tool", None),
        (":1", None),
        ("tool:", None),
        ("a//b:1", None),
    ] {
        let image = Image::new(name);
        let found = image.repository_and_tag().ok().map(|(repository, _)| repository);
        assert_eq!(wanted, found.as_deref(), "{name}");
    }
}

#[test]
fn paths_stay_inside() {
    for path in ["", "/etc/x", "a/../b", "./a", "a/"] {
        let image = Image::new("a:1").layer(Layer::default().bytes(path, "", 0o644));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("never");
        assert!(matches!(image.write(&file), Err(ImageError::Path(_))), "{path:?}");
        assert_eq!(0, std::fs::read_dir(directory.path()).unwrap().count());
    }
}
