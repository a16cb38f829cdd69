<?php
// A shop's backend in PHP: it has no login code, and knows its user from the headers that Menshen sets.

declare(strict_types=1);

// With assertions, nobody but Menshen can say who the user is, even if others reach this server.
$claims = null;
if (getenv('MENSHEN_JWKS')) {
    require __DIR__ . '/vendor/autoload.php';
    require __DIR__ . '/assertion.php';
    $claims = assertion(getenv('MENSHEN_JWKS'), getenv('MENSHEN_AUDIENCE'));
}

function user(?object $claims): ?string
{
    if ($claims) {
        return $claims->sub;
    }
    // The rule of WeChat Cloud Run: only a request with a source is somebody's.
    return empty($_SERVER['HTTP_X_WX_SOURCE']) ? null : ($_SERVER['HTTP_X_WX_OPENID'] ?? null);
}

function answer(int $status, array|object $body): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($body, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE);
}

$app = $claims ? $claims->app : $_SERVER['HTTP_X_MENSHEN_APP'] ?? null;
$call = $_SERVER['REQUEST_METHOD'] . ' ' . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

match ($call) {
    'GET /orders' => answer(200, ['user' => user($claims), 'app' => $app]),
    'POST /orders' => answer(200, [
        'user' => user($claims),
        'app' => $app,
        'order' => json_decode(file_get_contents('php://input')),
    ]),
    'GET /headers' => answer(200, (object) array_filter(
        $_SERVER,
        fn(string $name): bool => str_starts_with($name, 'HTTP_'),
        ARRAY_FILTER_USE_KEY,
    )),
    default => answer(404, ['error' => 'not_found']),
};
