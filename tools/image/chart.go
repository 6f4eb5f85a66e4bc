// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.yaml.in/yaml/v3"
)

// The media types by which Helm knows a chart in a registry.
const (
	chartConfig  = "application/vnd.cncf.helm.config.v1+json"
	chartContent = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// metadata are the fields of Chart.yaml that become annotations.
type metadata struct {
	Name, Version, Description, Home string
	Sources                          []string
}

// writeChart writes a chart that helm package made as an OCI image layout in an archive, and returns its digest. It is what
// helm push sends, without the time of the push.
func writeChart(out, chart string) (v1.Hash, error) {
	content, err := os.ReadFile(chart)
	if err != nil {
		return v1.Hash{}, err
	}
	config, about, err := readChart(content)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("read %s: %w", chart, err)
	}
	var d v1.Descriptor
	err = writeLayout(out, func(l layout.Path) error {
		m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: about.annotations()}
		if m.Config, err = addBlob(l, chartConfig, config); err != nil {
			return err
		}
		layer, err := addBlob(l, chartContent, content)
		if err != nil {
			return err
		}
		m.Layers = []v1.Descriptor{layer}
		manifest, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if d, err = addBlob(l, types.OCIManifestSchema1, manifest); err != nil {
			return err
		}
		d.Annotations = map[string]string{ociName: about.Version}
		return l.AppendDescriptor(d)
	})
	return d.Digest, err
}

// readChart returns the metadata of a packaged chart, whole as JSON and in parts.
func readChart(content []byte) ([]byte, metadata, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, metadata{}, fmt.Errorf("it is no gzip file: %w", err)
	}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, metadata{}, errors.New("it has no Chart.yaml: name an archive of helm package")
		}
		if err != nil {
			return nil, metadata{}, err
		}
		if ok, _ := path.Match("*/Chart.yaml", h.Name); !ok {
			continue
		}
		var (
			all   map[string]any
			about metadata
		)
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, metadata{}, err
		}
		if err := errors.Join(yaml.Unmarshal(b, &all), yaml.Unmarshal(b, &about)); err != nil {
			return nil, metadata{}, fmt.Errorf("parse Chart.yaml: %w", err)
		}
		if about.Name == "" || about.Version == "" {
			return nil, metadata{}, errors.New("parse Chart.yaml: it has no name or no version")
		}
		config, err := json.Marshal(all)
		return config, about, err
	}
}

// annotations describe a chart as helm push does.
func (m metadata) annotations() map[string]string {
	all := map[string]string{
		"org.opencontainers.image.title":       m.Name,
		"org.opencontainers.image.version":     m.Version,
		"org.opencontainers.image.description": m.Description,
		"org.opencontainers.image.url":         m.Home,
	}
	if len(m.Sources) > 0 {
		all["org.opencontainers.image.source"] = m.Sources[0]
	}
	return all
}

// addBlob writes a blob into a layout, and describes it.
func addBlob(l layout.Path, mediaType types.MediaType, content []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}, l.WriteBlob(digest, io.NopCloser(bytes.NewReader(content)))
}
