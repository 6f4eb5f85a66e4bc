// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// An image in an archive has its name in two annotations. containerd reads the first, and podman the second.
const (
	containerdName = "io.containerd.image.name"
	ociName        = "org.opencontainers.image.ref.name"
)

// write writes an archive that is both an OCI image layout with every platform, for containerd, podman and Docker with
// containerd's image store, and a docker-save archive with the first platform, for older versions of Docker. The second
// needs only one small additional file: the blobs are the same.
func write(path, ref string, b built) error {
	return writeLayout(path, func(l layout.Path) error {
		if err := l.AppendIndex(b.index, layout.WithAnnotations(map[string]string{containerdName: ref, ociName: ref})); err != nil {
			return err
		}
		manifest, err := dockerManifest(ref, b)
		if err != nil {
			return err
		}
		return l.WriteFile("manifest.json", manifest, 0o644)
	})
}

// writeLayout writes an archive of an OCI image layout that fill fills.
func writeLayout(path string, fill func(layout.Path) error) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	l, err := layout.Write(root, empty.Index)
	if err != nil {
		return err
	}
	if err := fill(l); err != nil {
		return err
	}
	// Written beside its final path and renamed: an interrupted run leaves no archive there.
	whole := filepath.Join(dir, "archive")
	if err := archive(whole, root); err != nil {
		return err
	}
	return os.Rename(whole, path)
}

// dockerManifest is Docker's own description of an archive: which blobs are the image of that name.
func dockerManifest(ref string, b built) ([]byte, error) {
	m, err := b.first.Manifest()
	if err != nil {
		return nil, err
	}
	d := tarball.Descriptor{Config: "blobs/sha256/" + m.Config.Digest.Hex, RepoTags: []string{ref}}
	for _, l := range m.Layers {
		d.Layers = append(d.Layers, "blobs/sha256/"+l.Digest.Hex)
	}
	return json.Marshal(tarball.Manifest{d})
}

// archive writes the files of a directory as a reproducible tar archive.
func archive(path, dir string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error { // in lexical order
		if err != nil || name == "." {
			return err
		}
		return add(w, dir, name, e)
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func add(w *tar.Writer, dir, name string, e fs.DirEntry) error {
	if e.IsDir() {
		return w.WriteHeader(entry(name+"/", 0))
	}
	info, err := e.Info()
	if err != nil {
		return err
	}
	h := entry(name, int(info.Size()))
	h.Mode = 0o644
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
