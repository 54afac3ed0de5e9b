<p>{{ $text ?? "hello" }}</p>
