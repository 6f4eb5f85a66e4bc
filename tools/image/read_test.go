// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// file is a member of an archive.
type file struct {
	header  tar.Header
	content []byte
}

// unpack reads a tar archive.
func unpack(t *testing.T, r io.Reader) map[string]file {
	t.Helper()
	files := make(map[string]file)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		files[h.Name] = file{*h, content}
	}
}

// index reads an archive as an OCI image layout, and returns its name and the image.
func index(t *testing.T, path string) (name string, _ v1.ImageIndex) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for name, file := range unpack(t, f) {
		at := filepath.Join(dir, name)
		if file.header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(at, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(at), 0o755); err == nil {
			err = os.WriteFile(at, file.content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := all.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("the layout has %d images (%v): a loader would ask which", len(m.Manifests), err)
	}
	d := m.Manifests[0]
	if d.Annotations[containerdName] != d.Annotations[ociName] {
		t.Errorf("containerd calls it %s, and podman %s", d.Annotations[containerdName], d.Annotations[ociName])
	}
	image, err := all.ImageIndex(d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(image); err != nil {
		t.Errorf("the image does not hold together: %v", err)
	}
	return d.Annotations[ociName], image
}

// images returns the image of each platform, in order.
func images(t *testing.T, i v1.ImageIndex) (platforms []string, images map[string]v1.Image) {
	t.Helper()
	m, err := i.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images = make(map[string]v1.Image)
	for _, d := range m.Manifests {
		platforms = append(platforms, d.Platform.String())
		if images[d.Platform.String()], err = i.Image(d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return platforms, images
}

// rootfs returns the files of an image: a layer of licences and one for each program, which share nothing but directories.
func rootfs(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatalf("%d layers, want three (%v)", len(layers), err)
	}
	files := make(map[string]file)
	for _, l := range layers {
		for name, f := range contents(t, l) {
			if _, twice := files[name]; twice && f.header.Typeflag != tar.TypeDir {
				t.Errorf("%s is in two layers", name)
			}
			files[name] = f
		}
	}
	return files
}

// contents returns the files of a layer.
func contents(t *testing.T, layer v1.Layer) map[string]file {
	t.Helper()
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return unpack(t, r)
}
