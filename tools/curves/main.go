// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Curves draws the growth of a benchmark's costs: curves FIGURES.json DIRECTORY
//
// The figures are the output of "scripts/bench.sh -output json" with the measures growth and expire.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// figures is the part of a benchmark's report that is drawn.
type figures struct {
	Growth *struct {
		Rows []row `json:"rows"`
	} `json:"growth"`
}

// row is the cost of one way to find half-closed sockets, on a node of a size.
type row struct {
	Sockets   int     `json:"sockets"`
	Way       string  `json:"way"`
	Best      float64 `json:"bestCPUMilliseconds"`
	PerSocket float64 `json:"microsecondsPerSocket"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "curves:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: curves FIGURES.json DIRECTORY")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var f figures
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	if f.Growth == nil || len(f.Growth.Rows) == 0 {
		return fmt.Errorf("%s has no growth: measure it with scripts/bench.sh -only growth -output json", args[0])
	}
	for _, c := range []curve{
		{
			"growth.svg", "One pass over a node that grows", "CPU time of a pass, seconds", true,
			func(r row) float64 { return r.Best / 1000 },
		},
		{
			"growth-per-socket.svg", "Cost of one half-closed socket", "CPU time of a half-closed socket, microseconds", true,
			func(r row) float64 { return r.PerSocket },
		},
	} {
		if err := c.draw(f.Growth.Rows, args[1]); err != nil {
			return fmt.Errorf("draw %s: %w", c.file, err)
		}
	}
	return nil
}

// curve is one picture: a line for each way.
type curve struct {
	file, title, y string
	logarithmic    bool
	value          func(row) float64
}

// ways lists the ways to find in the order of the legend, with their colours, which differ in brightness too.
func ways() []struct {
	name, legend string
	colour       color.Color
} {
	return []struct {
		name, legend string
		colour       color.Color
	}{
		{"nsenter ss loop", "a loop of nsenter ss", color.RGBA{R: 0xb0, G: 0x30, B: 0x30, A: 0xff}},
		{"halfclose's finder", "sockdiag", color.RGBA{R: 0xd0, G: 0x80, B: 0x10, A: 0xff}},
		{"halfclose's bpf finder, its walk", "bpf, the walk", color.RGBA{R: 0x20, G: 0x80, B: 0x60, A: 0xff}},
		{"halfclose's bpf finder, its set", "bpf, the set", color.RGBA{R: 0x20, G: 0x50, B: 0xb0, A: 0xff}},
	}
}

func (c curve) draw(rows []row, dir string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.title, "TCP sockets on the node (1,000 in each network namespace, a tenth half-closed)", c.y
	p.BackgroundColor = color.White
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for _, w := range ways() {
		var points plotter.XYs
		for _, r := range rows {
			if r.Way == w.name {
				points = append(points, plotter.XY{X: float64(r.Sockets), Y: c.value(r)})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width, dots.Color = w.colour, vg.Points(2), w.colour
		p.Add(line, dots)
		p.Legend.Add(w.legend, line, dots)
	}
	p.X.Min, p.X.Tick.Marker = 0, ticks{}
	if c.logarithmic {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Max *= 20 // room for the legend
	}
	return p.Save(18*vg.Centimeter, 10*vg.Centimeter, filepath.Join(dir, c.file))
}

// ticks labels numbers of sockets from 0 to the largest.
type ticks struct{}

// Ticks implements plot.Ticker.
func (ticks) Ticks(_, high float64) []plot.Tick {
	var all []plot.Tick
	for i := range 6 {
		n := high * float64(i) / 5
		all = append(all, plot.Tick{Value: n, Label: fmt.Sprintf("%.0fk", n/1000)})
	}
	return all
}
