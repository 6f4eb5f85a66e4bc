// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// about is what is said of an image.
type about struct {
	ref, version, commit string
	created              time.Time // of the source: an image has no time of its own
}

// built is an image for several platforms.
type built struct {
	index v1.ImageIndex
	first v1.Image // the first platform's: all that an archive of Docker's own kind has room for
}

// noArtifact is an image that an index lists as an image. The library would say that it is an artifact of its
// configuration's type.
type noArtifact struct{ v1.Image }

// ArtifactType returns that there is none.
func (noArtifact) ArtifactType() (string, error) { return "", nil }

// inImage is where the program is in the image: in the PATH of kubectl exec.
const (
	inDir   = "usr/local/bin"
	inImage = inDir + "/halfclose"
)

// build makes the image of these binaries, each of another platform. It is made of nothing else but a.
func build(a about, paths []string) (built, error) {
	b := built{index: mutate.IndexMediaType(empty.Index, types.OCIImageIndex)}
	seen := map[string]string{}
	for _, path := range paths {
		bin, err := readBinary(path)
		if err != nil {
			return built{}, err
		}
		platform := bin.platform.String()
		if other, twice := seen[platform]; twice {
			return built{}, fmt.Errorf("%s and %s are both for %s", other, path, platform)
		}
		seen[platform] = path
		image, err := a.image(bin)
		if err != nil {
			return built{}, fmt.Errorf("%s: %w", path, err)
		}
		b.index = mutate.AppendManifests(b.index, mutate.IndexAddendum{
			Add: noArtifact{image}, Descriptor: v1.Descriptor{Platform: &bin.platform},
		})
		if b.first == nil {
			b.first = image
		}
	}
	b.index = mutate.Annotations(b.index, a.labels()).(v1.ImageIndex)
	return b, nil
}

// image makes the image of one platform: the binary on nothing.
func (a about) image(bin executable) (v1.Image, error) {
	content, err := layer(bin.program)
	if err != nil {
		return nil, err
	}
	compressed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: a.created.UTC()}
	image, err := mutate.ConfigFile(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), &v1.ConfigFile{
		OS: bin.platform.OS, Architecture: bin.platform.Architecture, Created: created,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/" + inImage},
			Env:        []string{"PATH=/" + inDir},
			User:       "0:0", // the reaper enters namespaces, the installer writes root's files
			WorkingDir: "/",
			Labels:     a.labels(),
		},
	})
	if err != nil {
		return nil, err
	}
	image, err = mutate.Append(image, mutate.Addendum{
		Layer: compressed, MediaType: types.OCILayer,
		History: v1.History{Created: created, CreatedBy: "COPY halfclose /" + inImage},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, a.labels()).(v1.Image), nil
}

// layer is the file system as an archive.
func layer(program []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"usr/", "usr/local/", inDir + "/"} {
		if err := w.WriteHeader(entry(dir, 0)); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(entry(inImage, len(program))); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
}

// entry is the header of a file, or of a directory if the name ends in a slash. It belongs to root and is as old
// as time, whoever makes it.
func entry(name string, size int) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(size), Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if name[len(name)-1] == '/' {
		h.Typeflag = tar.TypeDir
	}
	return h
}

// labels describe the image, with the keys of the OCI image specification's annotations.
func (a about) labels() map[string]string {
	const home = "https://github.com/halfclose/halfclose"
	labels := map[string]string{
		"title":         "halfclose",
		"description":   "Destroys half-closed TCP sockets of containers past their grace",
		"url":           home,
		"source":        home,
		"documentation": home + "/tree/main/docs",
		"licenses":      "Apache-2.0",
		"created":       a.created.UTC().Format(time.RFC3339),
	}
	if a.version != "" {
		labels["version"] = a.version
	}
	if a.commit != "" {
		labels["revision"] = a.commit
	}
	full := make(map[string]string, len(labels))
	for key, value := range labels {
		full["org.opencontainers.image."+key] = value
	}
	return full
}
